//! Everything that happens in the background, in one table. A job runs on a thread for blocking work, never twice at
//! once, and ends when the process stops; the store has its own threads for applying, flushing and compacting.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::state::AppState;

/// One background job.
struct Job {
    /// For the log.
    name: &'static str,
    /// How often it runs.
    every: Duration,
    /// What it does. An error is logged and the job runs again next time.
    run: fn(&AppState) -> Result<(), String>,
}

/// The table.
const JOBS: [Job; 2] = [
    Job { name: "persist last use of tokens", every: Duration::from_secs(60), run: persist_last_used_daily },
    Job { name: "read files for the catalogue", every: Duration::from_secs(1), run: read_for_catalogue },
];
/// Between two looks whether the process stops.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
/// Pauses of a job that must not be noticed, as a multiple of its work: a tenth of one core.
const PAUSE_FACTOR: u32 = 9;

/// Starts every job.
pub(crate) fn start(state: &AppState) -> JoinSet<()> {
    let mut running = JoinSet::new();
    for job in JOBS {
        running.spawn(repeat(job, state.clone()));
    }
    running
}

async fn repeat(job: Job, state: AppState) {
    let mut ticks = interval(job.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        tokio::select! {
            () = state.shutdown.wait() => return,
            _ = ticks.tick() => {}
        }
        let for_job = state.clone();
        let done = tokio::task::spawn_blocking(move || (job.run)(&for_job)).await;
        match done {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(job = job.name, error, "background job failed"),
            Err(error) => tracing::error!(job = job.name, %error, "background job panicked"),
        }
    }
}

/// Writes down when each token was last used, if what is written is a day old. Blocks.
fn persist_last_used_daily(state: &AppState) -> Result<(), String> {
    state.registry.persist_last_used_daily(state.clock.now()).map(drop).map_err(|error| error.to_string())
}

/// Writes down when each token was last used. Blocks.
///
/// # Errors
/// Why the registry's log took nothing; it is tried again.
pub(crate) fn persist_last_used(state: &AppState) -> Result<(), String> {
    state.registry.persist_last_used(state.clock.now()).map(drop).map_err(|error| error.to_string())
}

/// Summarises the files that the catalogue has not read yet, slowly, until there is none. Blocks.
fn read_for_catalogue(state: &AppState) -> Result<(), String> {
    while !state.shutdown.is_stopping() {
        let started = Instant::now();
        if !state.catalogue.advance(&state.store.snapshot()).map_err(|error| error.to_string())? {
            break;
        }
        let pause = started.elapsed() * PAUSE_FACTOR;
        let paused_at = Instant::now();
        while paused_at.elapsed() < pause && !state.shutdown.is_stopping() {
            std::thread::sleep(LOOK_PERIOD.min(pause));
        }
    }
    Ok(())
}
