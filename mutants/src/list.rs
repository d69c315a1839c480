//! The mutants of a part, as cargo-mutants lists them.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use crate::Error;
use crate::parts::Part;
use crate::tree;

/// A bug that could be put in.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Mutant {
    /// File, place, change and function, for people.
    pub name: String,
    /// From the root of the checkout.
    pub file: String,
    /// What is replaced.
    pub span: Span,
    /// What stands there instead; empty where something is deleted.
    pub replacement: String,
    pub genre: Genre,
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) enum Genre {
    /// The body of a function becomes a value.
    FnValue,
    /// An operator of two sides becomes another.
    BinaryOperator,
    /// `!` or `-` is deleted.
    UnaryOperator,
    /// An arm of a match is deleted.
    MatchArm,
    /// The guard of an arm becomes `true` or `false`.
    MatchArmGuard,
    /// A field of a struct expression is deleted, so that its base gives it.
    StructField,
    /// One that this program does not know.
    #[serde(other)]
    Unknown,
}

/// From a place to the one behind the last character.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Span {
    pub start: Place,
    pub end: Place,
}

/// A line and a column, in characters; both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
}

/// The mutants of a part whose name holds `only`, as `program` (cargo-mutants) lists them.
pub(crate) fn list(program: &Path, root: &Path, part: &Part, only: Option<&str>) -> Result<Vec<Mutant>, Error> {
    let mut command = Command::new(program);
    command.args(["mutants", "--list", "--json", "--no-shuffle", "--colors", "never", "--package", part.package]);
    command.args(part.files.iter().flat_map(|file| ["--file", *file]));
    command.args(part.only.iter().flat_map(|name| ["--re", *name]));
    tree::without_cargo(&mut command);
    let output = command.current_dir(root).output().map_err(|error| format!("{}: {error}", program.display()))?;
    if !output.status.success() {
        return Err(format!("the mutants cannot be listed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let mut mutants: Vec<Mutant> = serde_json::from_slice(&output.stdout)?;
    mutants.retain(|mutant| only.is_none_or(|text| mutant.name.contains(text)));
    Ok(mutants)
}
