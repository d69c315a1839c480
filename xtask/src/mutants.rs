//! `cargo xtask mutants`: bugs put in one by one; the tests of the crate must notice each.
//!
//! One part is one crate and the files of it that decide what is acknowledged and who may do what. The log is built in the
//! development profile, which is quickest for one light crate; the others in the release profile, where hashing passwords
//! takes no minute and dependencies are built already; the crate itself is not optimized, for it is built once a mutant.

use crate::Error;
use crate::run::{command, run as run_command, target};
use crate::tools;

/// A crate, its files, and how its tests are run.
struct Part {
    name: &'static str,
    package: &'static str,
    files: &'static [&'static str],
    /// Of their mutants, those whose name (file, place, change, function) fits this; all without it.
    only: Option<&'static str>,
    arguments: &'static [&'static str],
    tests: &'static [&'static str],
}

const PARTS: [Part; 4] = [
    Part {
        name: "log",
        package: "eye-log",
        // The contract and the simulated disk are tests themselves.
        files: &[
            "crates/log/src/local/*.rs",
            "crates/log/src/record.rs",
            "crates/log/src/disk.rs",
            "crates/log/src/files.rs",
        ],
        only: None,
        arguments: &[],
        tests: &[],
    },
    Part {
        name: "registry",
        package: "eye-registry",
        files: &[
            "crates/registry/src/token.rs",
            "crates/registry/src/secret.rs",
            "crates/registry/src/password.rs",
            "crates/registry/src/state.rs",
            "crates/registry/src/registry.rs",
            "crates/registry/src/registry/tokens.rs",
            "crates/registry/src/registry/users.rs",
        ],
        only: None,
        arguments: &["--profile", "release"],
        tests: &[],
    },
    Part {
        name: "store",
        package: "eye-store",
        files: &[
            "crates/store/src/apply.rs",
            "crates/store/src/flush.rs",
            "crates/store/src/dedup.rs",
            "crates/store/src/dedup/*.rs",
        ],
        only: None,
        arguments: &["--profile", "release"],
        tests: &["--lib", "--test", "model"],
    },
    Part {
        name: "auth",
        package: "eye-server",
        files: &[
            "crates/server/src/auth.rs",
            "crates/server/src/manage/attempts.rs",
            "crates/server/src/postgres/session.rs",
        ],
        // Of a PostgreSQL client's session: its login, and whose token each statement is asked with.
        only: Some(
            r"auth\.rs|attempts\.rs|session\.rs.*(AuthSource for Door|is_logged_in|Session::caller|Session::ask_of)",
        ),
        arguments: &["--profile", "release"],
        tests: &["--lib", "--test", "manage", "--test", "bad_input", "--test", "ask", "--test", "postgres"],
    },
];

/// `[part…] [--shard K/N]`: all parts without one.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Error> {
    let (mut names, mut shard) = (Vec::new(), None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match *argument {
            "--shard" => shard = Some(*arguments.next().ok_or("--shard takes K/N")?),
            name => names.push(name),
        }
    }
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        let known: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        return Err(format!("there is no part {unknown}: use {}", known.join(", ")).into());
    }
    let program = tools::cargo_tool("cargo-mutants", "27.1.0")?;
    let parts = PARTS.iter().filter(|part| names.is_empty() || names.contains(&part.name));
    let mut missed = Vec::new();
    for part in parts {
        let out = target()?.join("mutants").join(part.name);
        std::fs::create_dir_all(&out)?;
        let mut mutants =
            command(&program, &["mutants", "--package", part.package, "--no-shuffle", "--colors", "never"])?;
        mutants.args(part.files.iter().flat_map(|file| ["--file", *file])).args(part.arguments);
        mutants.args(part.only.iter().flat_map(|name| ["--re", *name]));
        mutants.arg(format!("--cargo-arg=--config=profile.release.package.{}.opt-level=0", part.package));
        mutants.args(shard.iter().flat_map(|shard| ["--shard", *shard]));
        mutants.arg("--output").arg(&out).arg("--").args(part.tests);
        // A copy of the tree is built, with the dependencies that are there, and of the crate only what a mutant changes.
        mutants.env("CARGO_TARGET_DIR", target()?).env("CARGO_INCREMENTAL", "1");
        // Exit status 2 and 3: some were missed or ran too long; the lists are printed.
        if run_command(mutants).is_err() {
            missed.push(part.name);
        }
        println!("{}: the lists are in {}", part.name, out.join("mutants.out").display());
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not every mutant was caught: {}", missed.join(", ")).into()) }
}
