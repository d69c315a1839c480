//! Bugs put in one by one; the tests of the crate must notice each. `cargo xtask mutants` runs it.
//!
//! cargo-mutants says which bugs. They are not built one by one, as it would: all of them are put into a copy of the
//! checkout, each behind a question that a variable in the environment answers, and the copy is built once.
//!
//! | module | what it holds |
//! |---|---|
//! | [`parts`] | which crates, files and tests |
//! | [`list`] | the mutants, from cargo-mutants |
//! | [`schema`] | where in a file they go |
//! | [`render`] | the file with them in it |
//! | [`tree`] | the copy |
//! | [`cargo`] | the builds of the copy |
//! | [`blame`] | from the compiler's errors to mutants |
//! | [`run`] | one run of a test binary |
//! | [`trial`] | all of it in order |
//! | [`report`] | counts and names |

mod blame;
mod cargo;
mod list;
mod parts;
mod render;
mod report;
mod run;
mod schema;
mod tree;
mod trial;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use parts::{PARTS, Part};
use report::Verdict;

type Error = Box<dyn std::error::Error>;

const USAGE: &str = "usage: mutants CARGO-MUTANTS ROOT TARGET [part…] [--only TEXT]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [run::GUARD, program] => return run::guard(Path::new(program)),
        [program, root, target, rest @ ..] => {
            Folders { program: program.into(), root: root.into(), target: target.into() }.run(rest)
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Folders {
    /// cargo-mutants.
    program: PathBuf,
    /// Of the checkout.
    root: PathBuf,
    /// Where cargo builds.
    target: PathBuf,
}

impl Folders {
    /// `[part…] [--only TEXT]`: all parts without one; of their mutants those whose name holds the text.
    fn run(&self, arguments: &[&str]) -> Result<(), Error> {
        let (mut names, mut only) = (Vec::new(), None);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--only" => only = Some(*arguments.next().ok_or("--only takes a text")?),
                name => names.push(name),
            }
        }
        if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
            let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
            return Err(format!("there is no part {unknown}: use {}", known.join(", ")).into());
        }
        let mut missed = Vec::new();
        for part in PARTS.iter().filter(|part| names.is_empty() || names.contains(&part.name)) {
            if !self.part(part, only)? {
                missed.push(part.name);
            }
        }
        if missed.is_empty() {
            Ok(())
        } else {
            Err(format!("not every mutant was noticed, or none was tried: {}", missed.join(", ")).into())
        }
    }

    /// Whether the tests notice every mutant of a part, of which there must be some.
    fn part(&self, part: &Part, only: Option<&str>) -> Result<bool, Error> {
        let mutants = list::list(&self.program, &self.root, part, only)?;
        println!("{}: {} mutants", part.name, mutants.len());
        let verdicts = trial::Trial::new(part, &self.root, &self.target, &mutants).run()?;
        let report = report::report(part.name, &mutants, &verdicts);
        let file = self.target.join("mutants").join(format!("{}.txt", part.name));
        std::fs::write(&file, &report)?;
        println!("\n{report}\nthis is in {} too", file.display());
        let is_left = |verdict: &Verdict| verdict.is_missed() || *verdict == Verdict::NotTried;
        Ok(!verdicts.iter().any(is_left) && verdicts.iter().any(Verdict::is_noticed))
    }
}
