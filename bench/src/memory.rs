//! What remembering identities costs.

use eye_event::Timestamp;
use eye_store::dedup::DedupWindow;

use crate::report::{Goal, Report};
use crate::traffic::Numbers;
use crate::{Error, machine};

/// Prints the memory of the dedup window.
pub(crate) fn dedup() -> Result<(), Error> {
    println!("machine: {}", machine::line());
    println!("command: cargo xtask bench dedup");
    let mut report = Report::default();
    measure(&mut report)?;
    report.print();
    Ok(())
}

/// Adds the memory of the dedup window per million ids: UUIDs and plain texts, eight events a session.
pub(crate) fn measure(report: &mut Report) -> Result<(), Error> {
    const IDS: usize = 4_000_000;
    for (name, is_uuid) in [("UUIDs", true), ("texts of 20 bytes", false)] {
        let mut window = DedupWindow::new(86_400_000_000, usize::MAX);
        let mut numbers = Numbers::new(7);
        let mut session = String::new();
        for index in 0..IDS {
            let mut id = numbers.uuid();
            if !is_uuid {
                id.truncate(20);
            }
            if index % 8 == 0 {
                session.clone_from(&id);
            }
            if !window.insert("web", &session, &id, Timestamp::from_micros(1_700_000_000_000_000)) {
                return Err("a false duplicate".into());
            }
        }
        let mib = window.bytes() as f64 / IDS as f64 * 1e6 / 1_048_576.0;
        report.add(&format!("memory: dedup window, {name}"), Some(mib), "MiB/million", Goal::None);
    }
    Ok(())
}
