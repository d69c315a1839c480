//! What was asked for, read once from the environment. Only in builds with the feature, and in tests.

use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{CrashPoint, Sabotage};

pub(crate) const CRASH_AT: &str = "EYE_CRASH_AT";
pub(crate) const CRASH_TRACE: &str = "EYE_CRASH_TRACE";
pub(crate) const SABOTAGE: &str = "EYE_SABOTAGE";

/// What this process is asked to do wrong.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    crash: Option<Crash>,
    trace: Option<PathBuf>,
    pub(crate) sabotage: Option<Sabotage>,
    hits: Hits,
}

/// Where to die, and at which hit of it: the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Crash {
    point: CrashPoint,
    hit: u64,
}

/// What to do at one hit of a crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    traces: bool,
    dies: bool,
}

/// How often each point was passed.
#[derive(Debug)]
struct Hits([AtomicU64; CrashPoint::ALL.len()]);

impl Default for Hits {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CrashPoint::ALL.len()])
    }
}

impl Hits {
    /// Counts one more, and returns which one it is.
    fn count(&self, point: CrashPoint) -> u64 {
        self.0[point as usize].fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Crash {
    /// Reads `name` or `name:k`.
    fn parse(text: &str) -> Result<Self, String> {
        let (name, hit) = text.split_once(':').unwrap_or((text, "1"));
        let point = CrashPoint::from_name(name).ok_or_else(|| format!("there is no crash point \"{name}\""))?;
        match hit.parse() {
            Ok(hit) if hit > 0 => Ok(Self { point, hit }),
            _ => Err(format!("\"{hit}\" is not the number of a hit: 1 is the first")),
        }
    }
}

impl Plan {
    /// From the values of the three variables; empty is as if not set.
    fn parse(crash_at: &str, trace: &str, sabotage: &str) -> Result<Self, String> {
        let crash = (!crash_at.is_empty()).then(|| Crash::parse(crash_at)).transpose();
        let bug = |name| Sabotage::from_name(name).ok_or_else(|| format!("there is no sabotage \"{name}\""));
        let sabotage = (!sabotage.is_empty()).then(|| bug(sabotage)).transpose();
        Ok(Self {
            crash: crash.map_err(|why| format!("{CRASH_AT}: {why}"))?,
            trace: (!trace.is_empty()).then(|| PathBuf::from(trace)),
            sabotage: sabotage.map_err(|why| format!("{SABOTAGE}: {why}"))?,
            hits: Hits::default(),
        })
    }

    fn verdict(&self, point: CrashPoint, hit: u64) -> Verdict {
        let dies = self.crash == Some(Crash { point, hit });
        Verdict { traces: self.trace.is_some(), dies }
    }
}

#[cfg_attr(not(feature = "on"), expect(dead_code, reason = "a test must not end its process"))]
impl Plan {
    /// What the environment of this process asks for. Ends the process if that is nonsense: a test that breaks nothing
    /// must not pass.
    pub(crate) fn of_process() -> &'static Self {
        static PLAN: std::sync::OnceLock<Plan> = std::sync::OnceLock::new();
        PLAN.get_or_init(|| {
            let value = |name| std::env::var(name).unwrap_or_default();
            Self::parse(&value(CRASH_AT), &value(CRASH_TRACE), &value(SABOTAGE)).unwrap_or_else(|why| give_up(&why))
        })
    }

    /// One passage of a crash point: counted, traced, and the last one if it was asked for.
    pub(crate) fn pass(&self, point: CrashPoint) {
        let Verdict { traces, dies } = self.verdict(point, self.hits.count(point));
        if traces && let Some(path) = &self.trace {
            let line = format!("{}\n", point.name());
            let file = OpenOptions::new().append(true).create(true).open(path);
            if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
                give_up(&format!("{CRASH_TRACE}: cannot write {}: {error}", path.display()));
            }
        }
        if dies {
            eprintln!("eye-fault: crash at {}", point.name());
            std::process::abort();
        }
    }
}

fn give_up(why: &dyn Display) -> ! {
    eprintln!("eye-fault: {why}");
    std::process::exit(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: CrashPoint = CrashPoint::LogAfterSync;

    fn crash(text: &str) -> Result<Crash, String> {
        Crash::parse(text)
    }

    #[test]
    fn a_name_means_its_first_hit() {
        assert_eq!(crash("log.after_sync"), Ok(Crash { point: POINT, hit: 1 }));
        assert_eq!(crash("log.after_sync:7"), Ok(Crash { point: POINT, hit: 7 }));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(crash("log.after_lunch").unwrap_err().contains("log.after_lunch"));
        for hit in ["0", "-1", "x", "", "1:1"] {
            assert!(crash(&format!("log.after_sync:{hit}")).unwrap_err().contains("hit"), "{hit}");
        }
        assert!(Plan::parse("nowhere", "", "").unwrap_err().starts_with(CRASH_AT));
        assert!(Plan::parse("", "", "be_evil").unwrap_err().starts_with(SABOTAGE));
    }

    #[test]
    fn only_the_hit_that_was_asked_for_is_the_last() {
        let plan = Plan::parse("log.after_sync:3", "/trace", "").unwrap();
        let verdicts: Vec<_> = (0..4).map(|_| plan.verdict(POINT, plan.hits.count(POINT))).collect();
        let expected = [(true, false), (true, false), (true, true), (true, false)];
        assert_eq!(verdicts, expected.map(|(traces, dies)| Verdict { traces, dies }));
        let other = CrashPoint::LogBeforeSync;
        for _ in 0..5 {
            assert!(!plan.verdict(other, plan.hits.count(other)).dies, "each point is counted for itself");
        }
    }

    #[test]
    fn nothing_happens_if_nothing_is_asked_for() {
        let plan = Plan::parse("", "", "").unwrap();
        for point in CrashPoint::ALL {
            assert_eq!(plan.verdict(*point, plan.hits.count(*point)), Verdict { traces: false, dies: false });
        }
        assert_eq!(plan.sabotage, None);
        let plan = Plan::parse("", "", "skip_dedup").unwrap();
        assert_eq!(plan.sabotage, Some(Sabotage::SkipDedup));
    }
}
