//! Days go by, and what was received is kept for two of them: it is there when two days have gone by, and gone after the
//! third.
//!
//! Once the process is killed between the days. And once the power is cut on each of them, often while what is too old goes:
//! what the cut has kept from going goes after it, and nothing else does.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cut;
use super::until;
use super::upkeep::{LOAD, by_hand, demand, go_on};
use crate::Result;
use crate::load::Shape;
use crate::machine::{Clock, Mount};
use crate::oracle::Violation;
use crate::random::Random;
use crate::rig::Rig;
use crate::server::{PATIENCE, Server};

const DAY_SECONDS: i64 = 86_400;
/// What is kept: so many days after the one on which it was received.
const DAYS_KEPT: u64 = 2;
/// What the server logs when something went.
const TOOK_OUT: &str = "took out what was too old";

/// What went beside power cuts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expired {
    /// Events that were too old.
    pub(super) events: u64,
    /// Cuts on days on which there were some: before they had gone, and after.
    pub(super) cuts_before: u64,
    pub(super) cuts_after: u64,
}

impl Expired {
    pub(super) const fn add(&mut self, other: Self) {
        self.events += other.events;
        self.cuts_before += other.cuts_before;
        self.cuts_after += other.cuts_after;
    }
}

/// A clock that is set to days.
struct Calendar {
    clock: Clock,
    /// Seconds until it is noon, so that no midnight comes in between.
    noon: i64,
}

impl Calendar {
    /// Also sets what is kept for how long.
    fn new(rig: &mut Rig<'_>) -> Result<Self> {
        rig.flag("retention", &format!("*/*={DAYS_KEPT}d"));
        rig.flag("retention-period", "20ms");
        rig.flag("log-keep-commits", "1");
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
        Ok(Self { clock: rig.own_clock()?, noon: DAY_SECONDS / 2 - now % DAY_SECONDS })
    }

    /// It is so many days later.
    fn set(&self, day: u64) -> Result<()> {
        self.clock.set(&format!("{:+}s", self.noon + i64::try_from(day)? * DAY_SECONDS))
    }
}

/// Three days, and a kill before each.
///
/// # Errors
/// The tools failed.
pub(super) fn between_kills(rig: &mut Rig<'_>) -> Result<()> {
    by_hand(rig);
    let calendar = Calendar::new(rig)?;
    calendar.set(0)?;
    let Some(mut server) = rig.start()? else { return Ok(()) };
    let notes = Arc::clone(&rig.notes);
    rig.load_with(&mut server, |server| {
        go_on(&notes, LOAD);
        demand(&mut Rig::client(server), &notes, "/v1/flush");
        go_on(&notes, LOAD / 4);
        Ok(())
    })?;
    demand(&mut Rig::client(&server), &notes, "/v1/flush");
    rig.check_running(&server);
    for day in 1..=DAYS_KEPT + 1 {
        if rig.has_findings() {
            break;
        }
        notes.judge_end(server.process.kill());
        rig.tally.faults += 1;
        calendar.set(day)?;
        if day > DAYS_KEPT {
            rig.expires(&rig.sessions());
        }
        let Some(again) = rig.start()? else { return Ok(()) };
        server = again;
        // The first look may have begun before everything was ready.
        await_looks(rig, &server)?;
        rig.check_running(&server);
    }
    notes.judge_end(server.process.kill());
    rig.check_stopped();
    Ok(())
}

/// A day for each cut. Each has its own sessions, whose events are too old on the third day after it.
///
/// # Errors
/// The tools failed.
pub(super) fn beside_cuts(rig: &mut Rig<'_>, mount: &Mount, random: &mut Random, cuts: u64) -> Result<Expired> {
    rig.flag("vacuum-retention", "0s");
    let calendar = Calendar::new(rig)?;
    let shape = |run: &str, day: u64| Shape::new(format!("{run}d{day}"));
    let (notes, run, mut expired) = (Arc::clone(&rig.notes), rig.run().to_owned(), Expired::default());
    for day in 0..cuts {
        if rig.has_findings() {
            break;
        }
        calendar.set(day)?;
        let old = match day.checked_sub(DAYS_KEPT + 1) {
            Some(day) => rig.expires(&shape(&run, day).all_sessions()),
            None => 0,
        };
        rig.turn_to(shape(&run, day), &random.fork(day));
        let Some(mut server) = rig.start()? else { break };
        let launch = rig.launch.clone();
        let has_gone = || launch.log().contains(TOOK_OUT);
        // At once, at any moment, or when the commit has just been made that takes out what is old.
        let most = *random.of(&[40, 400]);
        let moment = Duration::from_millis(random.below(most));
        let waits = old > 0 && random.one_in(3);
        rig.load_with(&mut server, |server| {
            if waits {
                until(PATIENCE, has_gone);
                std::thread::sleep(moment / 40);
            } else {
                std::thread::sleep(moment);
            }
            let is_cut = cut::cut(server, mount, &notes, None);
            // Nobody waits for an answer of one that stands still.
            server.process.kill();
            is_cut
        })?;
        expired.events += old;
        expired.cuts_before += u64::from(old > 0 && !has_gone());
        expired.cuts_after += u64::from(old > 0 && has_gone());
        mount.restore()?;
        rig.notes.set_dark(false);
        rig.tally.faults += 1;
        let Some(mut server) = rig.start()? else { break };
        // What is in the log alone grows old there.
        demand(&mut Rig::client(&server), &rig.notes, "/v1/flush");
        await_looks(rig, &server)?;
        rig.check_running(&server);
        rig.notes.judge_end(server.process.kill());
        rig.check_stopped();
    }
    Ok(expired)
}

/// Retention has looked twice since the start.
fn await_looks(rig: &Rig<'_>, server: &Server) -> Result<()> {
    let (mut client, begun) = (Rig::client(server), Instant::now());
    while begun.elapsed() < PATIENCE {
        let Ok(answer) = client.get("/v1/jobs") else { break };
        let list: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let jobs = list["jobs"].as_array().into_iter().flatten();
        if jobs.filter(|job| job["name"] == "retention").any(|job| job["runs"].as_u64() >= Some(2)) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    rig.find(Violation::NotRecovered, "retention does not look at what is there");
    Ok(())
}
