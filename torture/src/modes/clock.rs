//! The wall clock jumps, by an hour or ten years, forwards and back, or stands still, at restarts and while it runs.
//! Nothing is lost or doubled, and a session's order, which is the clients' time, stays.
//!
//! That it jumps is not taken for granted: after each jump an event must have arrived at the time that was set, or, for
//! times of arrival never go back while a process runs, at the latest that was set since its start.
//!
//! Nothing is sent twice here: how long a repeat is known is a matter of the clock by definition.

use std::sync::Arc;
use std::time::Duration;

use eye_event::Timestamp;

use crate::Result;
use crate::http::Client;
use crate::load::{Notes, Shape};
use crate::machine::faketime;
use crate::modes::until;
use crate::observe;
use crate::oracle::Violation;
use crate::random::Random;
use crate::report::Report;
use crate::rig::{Ground, Rig};
use crate::server::{PATIENCE, Server};
use crate::steps::Step;

/// In microseconds, as all times here.
const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// Where the clock goes: in the words of libfaketime, and what that is.
const TIMES: [(&str, Time); 8] = [
    ("+0", Time::Beside(0)),
    ("+1h", Time::Beside(HOUR)),
    ("-1h", Time::Beside(-HOUR)),
    ("+10y", Time::Beside(10 * YEAR)),
    ("-10y", Time::Beside(-10 * YEAR)),
    ("+1d", Time::Beside(DAY)),
    ("-1d", Time::Beside(-DAY)),
    ("2026-06-01 12:00:00", Time::Still(1_780_315_200_000_000)),
];
/// Jumps of one life: at its start, and twice while it runs.
const JUMPS_PER_LIFE: u64 = 3;
/// So many jumps see every time, and must come to everything that they stand for.
const DEMANDED_AT: u64 = 12;
/// An event may arrive so far from the time that was set.
const TOLERANCE: i64 = HOUR / 30;

/// What the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Time {
    /// So much more than the real one.
    Beside(i64),
    /// Always the same, since 1970.
    Still(i64),
}

impl Time {
    fn now(self) -> i64 {
        match self {
            Self::Beside(more) => Timestamp::now().micros() + more,
            Self::Still(time) => time,
        }
    }
}

/// The times of one life, by their places in [`TIMES`].
#[derive(Clone, Copy, Debug)]
struct Life {
    start: usize,
    running: [usize; 2],
    /// Of the start after it.
    recovery: usize,
}

impl Life {
    /// Starts walk through the times, and jumps while it runs do so some places ahead: none is to where the clock is
    /// already. Each time around it is another number of places.
    fn new(first: u64, life: u64) -> Self {
        let count = TIMES.len() as u64;
        let shift = 1 + life / (count / 2) % (count - 1);
        let at = |step: u64| ((first + step) % count) as usize;
        let [start, recovery] = [2 * life, 2 * life + 1];
        Self { start: at(start), running: [at(start + shift), at(recovery + shift)], recovery: at(recovery) }
    }
}

/// Lets it jump so often.
///
/// # Errors
/// The tools failed.
pub fn run(ground: &Ground, jumps: u64) -> Result<Report> {
    let mut report = Report::new("clock", ground.seed);
    if let Err(why) = faketime() {
        report.skip(format!("clock jumps, because {why}"));
        return Ok(report);
    }
    let mut random = Random::new(ground.seed).fork(11);
    let shape = Shape { repeats: false, shares_ids: false, ..Shape::new("j") };
    let mut rig = Rig::new(ground, shape, &mut random, None)?;
    let notes = Arc::clone(&rig.notes);
    let clock = rig.own_clock()?;
    // The one that stands still is a time of day.
    rig.set("TZ", "UTC");
    let sessions = [rig.sessions().swap_remove(0)];
    let (first, mut lives) = (random.below(TIMES.len() as u64), 0);
    while rig.tally.faults < jumps && !rig.has_findings() {
        let Life { start, running, recovery } = Life::new(first, lives);
        clock.set(TIMES[start].0)?;
        let Some(mut server) = rig.start()? else { break };
        let kills = lives % 2 == 1;
        rig.load_with(&mut server, |server| {
            await_arrival(server, &sessions, &[start], &notes);
            for jumps in 1..=running.len() {
                std::thread::sleep(Duration::from_millis(100 + random.below(150)));
                clock.set(TIMES[running[jumps - 1]].0)?;
                await_arrival(server, &sessions, &[&[start], &running[..jumps]].concat(), &notes);
            }
            std::thread::sleep(Duration::from_millis(100 + random.below(150)));
            if kills {
                notes.judge_end(server.process.kill());
            }
            Ok(())
        })?;
        if !kills {
            rig.check_running(&server);
            rig.stop(&mut server)?;
        }
        rig.tally.faults += JUMPS_PER_LIFE;
        lives += 1;
        clock.set(TIMES[recovery].0)?;
        rig.recover_and_check()?;
    }
    rig.demand_acknowledged()?;
    report.add(rig.finish());
    report.demand(jumps >= DEMANDED_AT, &[Step::Commit]);
    Ok(report)
}

/// Waits until the newest event of these sessions is one that arrived at the latest of the times that were set since the
/// start. If none does, the clock is not the one that was set, and nothing is tested.
fn await_arrival(server: &Server, sessions: &[String], times: &[usize], notes: &Notes) {
    let latest = || times.iter().map(|time| TIMES[*time].1.now()).max().unwrap_or_default();
    let (mut client, mut arrived) = (Rig::client(server), None);
    let is_set = until(PATIENCE, || {
        arrived = newest_arrival(&mut client, sessions).or(arrived);
        arrived.is_some_and(|arrived| (arrived - latest()).abs() <= TOLERANCE)
    });
    if !is_set {
        let words: Vec<&str> = times.iter().map(|time| TIMES[*time].0).collect();
        let arrived = arrived.map(Timestamp::from_micros);
        let what = format!("the clock was set to {}, the newest event arrived {arrived:?}", words.join(", "));
        notes.find(Violation::NotTested, what);
    }
}

/// When the event that lies last in the log arrived: by its offset, for times go back here.
fn newest_arrival(client: &mut Client, sessions: &[String]) -> Option<i64> {
    let shown = observe::shown(client, sessions).ok()?;
    let newest = shown.sessions.into_iter().flatten().max_by_key(|row| row.place.offset)?;
    Some(newest.received_at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn as_many_jumps_as_a_test_run_makes_see_every_time_at_a_start_and_while_it_runs() {
        for first in 0..TIMES.len() as u64 {
            for round in 0..9 {
                let (mut starts, mut running) = (BTreeSet::new(), BTreeSet::new());
                for life in 0..DEMANDED_AT / JUMPS_PER_LIFE {
                    let life = Life::new(first, round * DEMANDED_AT / JUMPS_PER_LIFE + life);
                    starts.extend([life.start, life.recovery]);
                    running.extend(life.running);
                    let times = [life.start, life.running[0], life.running[1], life.recovery];
                    assert!(times.windows(2).all(|pair| pair[0] != pair[1]), "a jump that is none: {life:?}");
                }
                assert_eq!([starts.len(), running.len()], [TIMES.len(); 2]);
            }
        }
    }
}
