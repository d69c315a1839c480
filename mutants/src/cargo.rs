//! The builds: the copy's tests, and what the compiler says when they do not compile.
//!
//! All members are selected, because they decide together which features dependencies are built with: so what is built
//! already for the workspace serves here. Of all their targets only the tests named are built. The unit tests of a crate
//! have no name by which only they can be asked for, so the copy's manifest has its library a second time, as an integration
//! test ([`with_unit_tests`]); tests of other crates that have the same name are left out of the copy.
//!
//! Members have a profile of their own here: quick to build, and nothing of them replaces what the checkout builds in the
//! same folder, except programs: tests find those by a path of which there is one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::Error;
use crate::tree;

/// The copy, and where it is built.
pub(crate) struct Workspace {
    pub copy: PathBuf,
    pub target: PathBuf,
}

/// What came of a build.
pub(crate) enum Build {
    Done(Built),
    /// What the compiler says, at least one error.
    Errors(Vec<Diagnostic>),
}

/// The executables of a package.
#[derive(Debug, Default)]
pub(crate) struct Built {
    /// Tests by name.
    pub tests: Vec<(String, PathBuf)>,
    pub programs: Vec<PathBuf>,
}

/// A line of what cargo tells a program.
#[derive(Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-message")]
    Said { message: Diagnostic },
    #[serde(rename = "compiler-artifact")]
    Built { manifest_path: PathBuf, target: Target, executable: Option<PathBuf> },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// What the compiler says about a place.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Diagnostic {
    pub message: String,
    pub level: String,
    pub code: Option<Code>,
    pub spans: Vec<Span>,
    pub rendered: Option<String>,
}

/// Such as E0308.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Code {
    pub code: String,
}

/// Bytes of a file, whose name is from the root of the copy.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Span {
    pub file_name: String,
    pub byte_start: usize,
    pub byte_end: usize,
    pub is_primary: bool,
    pub expansion: Option<Box<Expansion>>,
}

/// Where a macro was called whose expansion a place is in.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Expansion {
    pub span: Span,
}

impl Workspace {
    /// Builds these tests of the package whose manifest this is.
    pub(crate) fn build(&self, manifest: &Path, tests: &[String]) -> Result<Build, Error> {
        let mut cargo = self.cargo();
        cargo.args(["test", "--no-run", "--release", "--locked", "--workspace", "--message-format", "json"]);
        for member in self.members()? {
            // One profile for all, so that none is built twice.
            for setting in ["opt-level=1", "codegen-units=16"] {
                cargo.arg("--config").arg(format!("profile.release.package.{member}.{setting}"));
            }
        }
        cargo.args(tests.iter().flat_map(|test| ["--test", test]));
        let output = cargo.stderr(Stdio::inherit()).output()?;
        let mut built = Built::default();
        let mut errors = Vec::new();
        for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
            match serde_json::from_slice(line)? {
                Message::Said { message } if message.level.starts_with("error") => errors.push(message),
                Message::Built { manifest_path, target, executable: Some(path) } if manifest_path == manifest => {
                    if target.kind.iter().any(|kind| kind == "test") {
                        built.tests.push((target.name, path));
                    } else {
                        built.programs.push(path);
                    }
                }
                _ => {}
            }
        }
        match (output.status.success(), errors.is_empty()) {
            (true, _) => Ok(Build::Done(built)),
            (false, false) => Ok(Build::Errors(errors)),
            (false, true) => Err("the build failed, and not by an error of the compiler".into()),
        }
    }

    /// The names of all packages of the workspace.
    fn members(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Metadata {
            packages: Vec<Package>,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
        }
        let mut cargo = self.cargo();
        cargo.args(["metadata", "--no-deps", "--format-version", "1", "--locked"]).stderr(Stdio::inherit());
        let metadata: Metadata = serde_json::from_slice(&cargo.output()?.stdout)?;
        Ok(metadata.packages.into_iter().map(|package| package.name).collect())
    }

    fn cargo(&self) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        tree::without_cargo(&mut cargo);
        cargo.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target);
        cargo
    }
}

/// A manifest in which the unit tests of the library can be asked for, as a test of the library's name.
pub(crate) fn with_unit_tests(manifest: &str, library: &str) -> String {
    format!("{manifest}\n[[test]]\nname = \"{library}\"\npath = \"src/lib.rs\"\n")
}
