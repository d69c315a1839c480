//! Running other programs, loudly.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The root of the checkout.
pub(crate) fn root() -> Result<PathBuf, Error> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().ok_or("no parent folder")?.to_path_buf())
}

/// Where cargo builds: `CARGO_TARGET_DIR`, else `target`.
pub(crate) fn target() -> Result<PathBuf, Error> {
    let root = root()?;
    Ok(root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())))
}

/// Where tools and test environments are kept between runs: `XTASK_CACHE`, else `~/.cache/eye`, else the target folder.
pub(crate) fn cache() -> Result<PathBuf, Error> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache").join("eye"));
    let given = std::env::var_os("XTASK_CACHE").map(PathBuf::from);
    let folder = match given.or_else(home) {
        Some(folder) => folder,
        None => root()?.join("target").join("cache"),
    };
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A command that runs in the root of the checkout.
///
/// It does not see what cargo told this program about itself: a dependency's build script looks at such variables, and all
/// that is built on it would be built again whenever cargo is called from here after it was called by hand.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<Command, Error> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()?);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Runs a command; an error if it fails.
pub(crate) fn run(mut command: Command) -> Result<(), Error> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    println!("$ {shown}");
    let status = command.status().map_err(|error| format!("{shown}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown}: {status}").into()) }
}

/// Does all of these at the same time. What has failed is told when the others have ended.
pub(crate) fn together<T: Sync>(jobs: &[T], job: impl Fn(&T) -> Result<(), Error> + Sync) -> Result<(), Error> {
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let job = &job;
        let begin = |one| scope.spawn(move || job(one).map_err(|error| error.to_string()));
        let begun: Vec<_> = jobs.iter().map(begin).collect();
        begun.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a thread panicked".to_owned()))).collect()
    });
    Ok(results.into_iter().collect::<Result<(), _>>()?)
}

/// Runs cargo in the root of the checkout.
pub(crate) fn cargo(arguments: &[&str]) -> Result<(), Error> {
    run(command(env!("CARGO"), arguments)?)
}
