//! One part, from the list of its mutants to what the tests said about each.
//!
//! Mutants that can be chosen at run time are tried together: one build, and for each a run of the tests that come to it.
//! Those that do not compile are taken out of that build, as the compiler names them. The others are built one by one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::Error;
use crate::blame::{Edits, Fault};
use crate::cargo::{Build, Built, Workspace, with_unit_tests};
use crate::list::{Mutant, Place};
use crate::parts::Part;
use crate::render::render;
use crate::report::Verdict;
use crate::run::{CHOSEN, End, REACHED, Test};
use crate::schema::{Id, Kind, Reason, nodes};
use crate::tree;

/// No run is ended before.
const LIMIT_MIN: Duration = Duration::from_secs(20);
/// The tests may take so many times longer than without a mutant.
const LIMIT_FACTOR: u32 = 5;
/// Nothing takes so long without a mutant.
const BASELINE_MAX: Duration = Duration::from_secs(1800);

/// A part being tried.
pub(crate) struct Trial<'a> {
    part: &'a Part,
    root: &'a Path,
    workspace: Workspace,
    mutants: &'a [Mutant],
    verdicts: Vec<Option<Verdict>>,
}

/// A test binary without a mutant.
struct Baseline {
    test: Test,
    limit: Duration,
    reached: BTreeSet<Id>,
}

impl<'a> Trial<'a> {
    /// In the folder `mutants` of this target folder.
    pub(crate) fn new(part: &'a Part, root: &'a Path, target: &Path, mutants: &'a [Mutant]) -> Self {
        let workspace = Workspace { copy: target.join("mutants").join("tree"), target: target.to_owned() };
        Self { part, root, workspace, mutants, verdicts: vec![None; mutants.len()] }
    }

    /// Tries all mutants; what became of each, in the order of the list.
    pub(crate) fn run(mut self) -> Result<Vec<Verdict>, Error> {
        let (built, apart) = self.build_together()?;
        fs::copy(std::env::current_exe()?, self.guard())?;
        let baselines = self.baselines(&built)?;
        let programs = Programs::of(&built)?;
        for id in 0..self.mutants.len() {
            if self.verdicts[id].is_none() && !apart.contains(&id) {
                let verdict = self.try_chosen(id, &baselines, &programs)?;
                self.tell(id, verdict);
            }
        }
        for id in apart {
            let verdict = self.try_apart(id, &baselines)?;
            self.tell(id, verdict);
        }
        Ok(self.verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::NotTried)).collect())
    }

    /// Prints and keeps what became of a mutant.
    fn tell(&mut self, id: Id, verdict: Verdict) {
        self.verdicts[id] = Some(verdict);
        let done = self.verdicts.iter().flatten().count();
        let told = self.verdicts[id].as_ref().map(ToString::to_string).unwrap_or_default();
        println!("[{done}/{}] {}: {told}", self.mutants.len(), self.mutants[id].name);
    }

    /// Builds all mutants that compile together; returns those that have to be built one by one.
    fn build_together(&mut self) -> Result<(Built, BTreeSet<Id>), Error> {
        let mut apart = BTreeSet::new();
        // Each round takes one out at least.
        loop {
            let (edits, left_out) = self.edits(&apart)?;
            for (id, reason) in left_out {
                match reason {
                    Reason::BesideLet => self.tell(id, Verdict::NotCompiled),
                    Reason::Unknown => self.tell(id, Verdict::NotTried),
                    Reason::Constant | Reason::LetGuard | Reason::ReturnsTrait => drop(apart.insert(id)),
                }
            }
            let mut instead: HashMap<_, _> =
                edits.files.iter().map(|(file, edited)| (PathBuf::from(file), edited.text.clone())).collect();
            let library = Path::new(self.part.folder).join("src/lib.rs");
            let text = match instead.remove(&library) {
                Some(text) => text,
                None => fs::read_to_string(self.root.join(&library))?,
            };
            instead.insert(library, text + &chooser(self.mutants.len()));
            self.write(instead)?;
            let errors = match self.workspace.build(&self.manifest(), &self.part.binaries())? {
                Build::Done(built) => return Ok((built, apart)),
                Build::Errors(errors) => errors,
            };
            let mut faults: BTreeMap<Id, Fault> = BTreeMap::new();
            for (id, fault) in errors.iter().flat_map(|error| edits.blame(error)) {
                // By itself it may compile, then.
                let known = faults.entry(id).or_insert(fault);
                *known = (*known).max(fault);
            }
            if faults.is_empty() {
                let told: Vec<String> = errors.into_iter().filter_map(|error| error.rendered).collect();
                return Err(format!("the copy does not compile, and no mutant is why:\n{}", told.join("\n")).into());
            }
            for (id, fault) in faults {
                match fault {
                    Fault::Own => self.tell(id, Verdict::NotCompiled),
                    Fault::Shared => drop(apart.insert(id)),
                }
            }
        }
    }

    /// The files with all mutants that are still to be tried together, and those that are not in them though they are.
    fn edits(&self, apart: &BTreeSet<Id>) -> Result<(Edits, Vec<(Id, Reason)>), Error> {
        let mut by_file: BTreeMap<&str, Vec<(Id, &Mutant)>> = BTreeMap::new();
        for (id, mutant) in self.mutants.iter().enumerate() {
            let wanted = by_file.entry(&mutant.file).or_default();
            if self.verdicts[id].is_none() && !apart.contains(&id) {
                wanted.push((id, mutant));
            }
        }
        let (mut edits, mut left_out) = (Edits::default(), Vec::new());
        for (file, mutants) in by_file {
            let text = fs::read_to_string(self.root.join(file))?;
            let found = nodes(&text, &mutants).map_err(|error| format!("{file}: {error}"))?;
            for node in &found.nodes {
                if let Kind::Const(name, ids) = &node.kind {
                    edits.constants.push((name.clone(), ids.clone()));
                }
            }
            edits.files.insert(file.to_owned(), render(&text, &found.nodes));
            left_out.extend(found.left_out);
        }
        Ok((edits, left_out))
    }

    /// Makes the copy the checkout with these files instead.
    fn write(&self, mut instead: HashMap<PathBuf, String>) -> Result<(), Error> {
        let manifest = Path::new(self.part.folder).join("Cargo.toml");
        let text = fs::read_to_string(self.root.join(&manifest))?;
        instead.insert(manifest, with_unit_tests(&text, &self.part.library()));
        let is_others_test = |file: &Path| {
            let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            file.parent().is_some_and(|folder| folder.ends_with("tests"))
                && !file.starts_with(self.part.folder)
                && self.part.tests.contains(&name)
        };
        tree::copy(self.root, &self.workspace.copy, &instead, is_others_test)
    }

    /// The package's manifest in the copy.
    fn manifest(&self) -> PathBuf {
        self.workspace.copy.join(self.part.folder).join("Cargo.toml")
    }

    fn guard(&self) -> PathBuf {
        self.workspace.target.join("mutants").join("guard")
    }

    fn test(&self, name: &str, built: &Built) -> Result<Test, Error> {
        let program = built.tests.iter().find(|(test, _)| test == name).map(|(_, program)| program.clone());
        let program = program.ok_or_else(|| format!("cargo built no test {name}"))?;
        let folder = self.workspace.copy.join(self.part.folder);
        Ok(Test { name: name.to_owned(), program, folder, guard: self.guard() })
    }

    /// Runs all tests without a mutant: they must pass.
    fn baselines(&self, built: &Built) -> Result<Vec<Baseline>, Error> {
        let file = self.workspace.target.join("mutants").join("reached");
        let mut baselines = Vec::new();
        for name in self.part.binaries() {
            let test = self.test(&name, built)?;
            fs::write(&file, "")?;
            let (end, took) = test.run((REACHED, file.clone().into_os_string()), BASELINE_MAX)?;
            match end {
                End::Passed => {}
                End::Failed(printed) => return Err(format!("{name} fails without a mutant:\n{printed}").into()),
                End::OutOfTime => return Err(format!("{name} does not end").into()),
            }
            let reached: BTreeSet<Id> = fs::read_to_string(&file)?.lines().map(str::parse).collect::<Result<_, _>>()?;
            println!("{name}: passes in {:.1} s, comes to {} mutants", took.as_secs_f64(), reached.len());
            baselines.push(Baseline { test, limit: LIMIT_MIN.max(took * LIMIT_FACTOR), reached });
        }
        Ok(baselines)
    }

    /// Runs the tests that come to a mutant until one notices it.
    fn try_chosen(&self, id: Id, baselines: &[Baseline], programs: &Programs) -> Result<Verdict, Error> {
        let mut verdict = Verdict::Unreached;
        for baseline in baselines.iter().filter(|baseline| baseline.reached.contains(&id)) {
            programs.are_the_same()?;
            let (end, _) = baseline.test.run((CHOSEN, OsString::from(id.to_string())), baseline.limit)?;
            verdict = Verdict::of(end, &baseline.test.name);
            if verdict.is_noticed() {
                break;
            }
        }
        Ok(verdict)
    }

    /// Puts a mutant in as text, then builds and runs each test until one notices it.
    fn try_apart(&self, id: Id, baselines: &[Baseline]) -> Result<Verdict, Error> {
        let mutant = &self.mutants[id];
        let mut text = fs::read_to_string(self.root.join(&mutant.file))?;
        let (start, end) = (byte_of(&text, mutant.span.start), byte_of(&text, mutant.span.end));
        text.replace_range(start..end, &mutant.replacement);
        self.write(HashMap::from([(PathBuf::from(&mutant.file), text)]))?;
        let mut verdict = Verdict::Missed;
        for baseline in baselines {
            let name = &baseline.test.name;
            let built = match self.workspace.build(&self.manifest(), std::slice::from_ref(name))? {
                Build::Done(built) => built,
                Build::Errors(_) => return Ok(Verdict::NotCompiled),
            };
            let (end, _) = self.test(name, &built)?.run((CHOSEN, OsString::new()), baseline.limit)?;
            verdict = Verdict::of(end, name);
            if verdict.is_noticed() {
                break;
            }
        }
        Ok(verdict)
    }
}

/// The programs that tests start, which other builds in the same folder could replace.
struct Programs(Vec<(PathBuf, SystemTime)>);

impl Programs {
    fn of(built: &Built) -> Result<Self, Error> {
        let programs = built.programs.iter();
        let dated = programs.map(|program| Ok((program.clone(), fs::metadata(program)?.modified()?)));
        Ok(Self(dated.collect::<Result<_, Error>>()?))
    }

    fn are_the_same(&self) -> Result<(), Error> {
        for (program, built) in &self.0 {
            if fs::metadata(program)?.modified()? != *built {
                return Err(format!("{} was built by somebody else meanwhile", program.display()).into());
            }
        }
        Ok(())
    }
}

/// What a library with so many mutants has in addition: the function that is asked which one is chosen.
pub(crate) fn chooser(mutants: usize) -> String {
    include_str!("chooser.rs.txt").replace("COUNT", &mutants.to_string())
}

/// Where a place is in a text; its end if it is behind it.
fn byte_of(text: &str, place: Place) -> usize {
    let line: usize = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum();
    text[line..].char_indices().nth(place.column - 1).map_or(text.len(), |(byte, _)| line + byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_from_one() {
        let text = "aä\nß§b\n";
        let byte = |line, column| byte_of(text, Place { line, column });
        assert_eq!((byte(1, 1), byte(1, 3), byte(2, 1), byte(2, 3)), (0, 3, 4, 8));
        assert_eq!(byte(3, 1), text.len());
    }
}
