//! One reader of one session: it looks again and again.
//!
//! The rule: what it saw once it must see again, over every fault; what is another application's it never sees.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::notes::{Notes, READ_STATUSES};
use super::tenants::APPLICATIONS;
use crate::http::Client;
use crate::observe::{self, Page};
use crate::oracle::{Row, Violation, check_later_view, check_own};

/// How much of a session a reader asks for.
const VIEW_ROWS: usize = 200;

/// One reader of one session.
#[derive(Debug)]
pub struct Reader {
    session: String,
    /// The application whose token it has.
    pub(super) application: &'static str,
    view: Vec<Row>,
}

impl Reader {
    /// A reader that has seen nothing. The applications have them by turns.
    #[must_use]
    pub fn new(session: String, number: u16) -> Self {
        let application = APPLICATIONS[usize::from(number) % APPLICATIONS.len()];
        Self { session, application, view: Vec::new() }
    }

    /// Watches until told to stop.
    pub fn run(&mut self, address: SocketAddr, token: &str, notes: &Notes, stop: &AtomicBool) {
        let mut client = Client::new(address, token);
        while !stop.load(Ordering::Relaxed) {
            self.look(&mut client, notes);
            std::thread::sleep(Duration::from_millis(15));
        }
    }

    fn look(&mut self, client: &mut Client, notes: &Notes) {
        let path = observe::session_path(&self.session, VIEW_ROWS, None);
        let Ok(answer) = client.get(&path) else { return };
        if notes.is_dark() {
            return;
        }
        notes.judge_status(&path, &answer, READ_STATUSES);
        let page = match answer.status {
            200 => match Page::read(&answer.body) {
                Ok(page) => page,
                Err(error) => {
                    notes.witness().findings.add(Violation::Changed, format!("{path}: {error}"));
                    return;
                }
            },
            404 => Page::default(),
            _ => return,
        };
        let mut witness = notes.witness();
        witness.findings.extend(check_own(self.application, &page.rows));
        witness.findings.extend(check_later_view(&self.view, &page.rows, page.next.is_none()));
        page.rows.iter().for_each(|row| witness.saw(row));
        drop(witness);
        self.view = page.rows;
    }
}
