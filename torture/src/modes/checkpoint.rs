//! A table gets a checkpoint rarely, so some folders are brought to just before one, and the fault waits for it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Result;
use crate::observe;
use crate::rig::Rig;
use crate::server::PATIENCE;
use crate::steps::names;

/// One folder in so many comes to a checkpoint.
pub(super) const CHECKPOINT_ONE_IN: u64 = 5;
/// Commits after which a table gets one.
const CHECKPOINT_COMMITS: usize = 100;

/// Makes commits, one request each, until a few more bring a checkpoint.
///
/// # Errors
/// The tools failed.
pub(super) fn come_near(rig: &mut Rig<'_>) -> Result<()> {
    let Some(mut server) = rig.start()? else { return Ok(()) };
    // The first commit makes the table. A flush of two partitions makes two.
    for _ in 0..CHECKPOINT_COMMITS {
        if observe::commits(&rig.launch.data)?.len() > CHECKPOINT_COMMITS - 4 {
            break;
        }
        rig.steps(&server, 1);
        let _ = Rig::client(&server).post("/v1/flush", "application/json", b"{}");
    }
    rig.notes.judge_end(server.process.kill());
    Ok(())
}

/// What a fault waits for. A table that is opened behind the commit makes no checkpoint before the next hundred: what a fault
/// prevents is not made up for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sign {
    /// The commit that brings a checkpoint.
    Commit,
    /// The checkpoint. Its name may not be durable yet.
    Checkpoint,
    /// The checkpoint's proof, which is written when the checkpoint is durable.
    Proof,
}

/// A sign in a folder.
pub(super) struct Awaited {
    folder: PathBuf,
    /// Of its name.
    end: String,
}

impl Awaited {
    /// What the next fault in this data folder waits for.
    pub(super) fn new(rig: &Rig<'_>, sign: Sign) -> Self {
        let (folder, end) = match sign {
            Sign::Commit => ("_delta_log", format!("{CHECKPOINT_COMMITS:020}.json")),
            Sign::Checkpoint => ("_delta_log", ".checkpoint.parquet".to_owned()),
            Sign::Proof => ("_checksums", ".checkpoint.sha256".to_owned()),
        };
        Self { folder: rig.launch.data.join("table/events").join(folder), end }
    }

    /// Until it has its name, and a little longer.
    pub(super) fn sleep(self, more: Duration) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && !names(&self.folder).iter().any(|name| name.ends_with(&self.end)) {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(more);
    }
}
