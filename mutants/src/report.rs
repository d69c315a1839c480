//! What became of the mutants of a part, counted and listed.

use std::fmt::{self, Write};

use crate::list::Mutant;
use crate::run::End;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A test failed; its name, after that of its binary.
    Caught(String),
    /// This binary did not end.
    OutOfTime(String),
    /// All tests passed.
    Missed,
    /// No test comes to it.
    Unreached,
    /// It is no program.
    NotCompiled,
    /// This program does not know how.
    NotTried,
}

impl Verdict {
    /// What a run of this binary says.
    pub(crate) fn of(end: End, binary: &str) -> Self {
        match end {
            End::Passed => Self::Missed,
            End::OutOfTime => Self::OutOfTime(binary.to_owned()),
            End::Failed(printed) => {
                let failed = printed.lines().filter(|line| line.ends_with("FAILED"));
                let test = failed.filter_map(|line| line.strip_prefix("test ")?.split(' ').next()).next();
                Self::Caught(test.map_or_else(|| binary.to_owned(), |test| format!("{binary} {test}")))
            }
        }
    }

    pub(crate) fn is_noticed(&self) -> bool {
        matches!(self, Self::Caught(_) | Self::OutOfTime(_))
    }

    pub(crate) fn is_missed(&self) -> bool {
        matches!(self, Self::Missed | Self::Unreached)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caught(test) => write!(f, "caught by {test}"),
            Self::OutOfTime(binary) => write!(f, "out of time in {binary}"),
            Self::Missed => f.write_str("missed"),
            Self::Unreached => f.write_str("missed (reached by no test)"),
            Self::NotCompiled => f.write_str("does not compile"),
            Self::NotTried => f.write_str("not tried"),
        }
    }
}

type Is = fn(&Verdict) -> bool;

/// The counts, then the name of every mutant that was not caught by a failing test.
pub(crate) fn report(part: &str, mutants: &[Mutant], verdicts: &[Verdict]) -> String {
    let count = |is: Is| verdicts.iter().filter(|verdict| is(verdict)).count();
    let caught = count(|verdict| matches!(verdict, Verdict::Caught(_)));
    let out_of_time = count(|verdict| matches!(verdict, Verdict::OutOfTime(_)));
    let missed = count(Verdict::is_missed);
    let not_compiled = count(|verdict| *verdict == Verdict::NotCompiled);
    let not_tried = count(|verdict| *verdict == Verdict::NotTried);
    let noticed = caught + out_of_time;
    let percent = 100 * noticed / (noticed + missed).max(1);
    let mut out = format!(
        "{part}: {} tried: {caught} caught by a failing test, {out_of_time} out of time, {missed} missed, \
         {not_compiled} do not compile; {not_tried} not tried; of those that compile {percent} % noticed\n",
        mutants.len() - not_tried,
    );
    let lists: [(&str, Is); 4] = [
        ("missed", Verdict::is_missed),
        ("out of time", |verdict| matches!(verdict, Verdict::OutOfTime(_))),
        ("do not compile", |verdict| *verdict == Verdict::NotCompiled),
        ("not tried", |verdict| *verdict == Verdict::NotTried),
    ];
    for (title, is) in lists {
        let names = mutants.iter().zip(verdicts).filter(|(_, verdict)| is(verdict));
        let mut lines = names.map(|(mutant, verdict)| match verdict {
            Verdict::Unreached | Verdict::OutOfTime(_) => format!("  {}: {verdict}\n", mutant.name),
            _ => format!("  {}\n", mutant.name),
        });
        if let Some(first) = lines.next() {
            // A string takes all that is written.
            let _ = write!(out, "\n{title}:\n{first}{}", lines.collect::<String>());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Genre, Place, Span};

    #[test]
    fn a_report_counts_all_and_names_what_was_not_caught() {
        let verdicts = [
            Verdict::of(End::Failed("test a::b ... ok\ntest a::c ... FAILED\n".to_owned()), "units"),
            Verdict::of(End::OutOfTime, "model"),
            Verdict::of(End::Passed, "model"),
            Verdict::Unreached,
            Verdict::NotCompiled,
            Verdict::NotTried,
        ];
        assert_eq!(verdicts[0], Verdict::Caught("units a::c".to_owned()));
        let mutants: Vec<Mutant> = (0..verdicts.len())
            .map(|id| {
                let place = Place { line: 1, column: 1 };
                let span = Span { start: place, end: place };
                let (file, replacement) = ("a.rs".to_owned(), String::new());
                Mutant { name: format!("mutant {id}"), file, span, replacement, genre: Genre::FnValue }
            })
            .collect();
        assert_eq!(
            report("store", &mutants, &verdicts),
            "store: 5 tried: 1 caught by a failing test, 1 out of time, 2 missed, 1 do not compile; 1 not tried; \
             of those that compile 50 % noticed\n\
             \nmissed:\n  mutant 2\n  mutant 3: missed (reached by no test)\n\
             \nout of time:\n  mutant 1: out of time in model\n\
             \ndo not compile:\n  mutant 4\n\
             \nnot tried:\n  mutant 5\n"
        );
    }
}
