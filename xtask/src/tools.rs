//! What the tests need besides Rust, installed from package registries when it is not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::run::{cache, command, root, run};

/// A cargo tool by name: the one on the path, else one built into the cache. Returns the program to run.
///
/// Not optimized: each is built for some seconds of work.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<PathBuf, Error> {
    if answers(name) {
        return Ok(PathBuf::from(name));
    }
    let folder = cache()?.join(format!("{name}-{version}"));
    let program = folder.join("bin").join(name);
    if !program.exists() {
        let mut install =
            command(env!("CARGO"), &["install", "--debug", "--locked", "--version", version, name, "--root"])?;
        install.arg(&folder).env("CARGO_PROFILE_DEV_DEBUG", "none");
        run(install)?;
    }
    Ok(program)
}

fn answers(program: &str) -> bool {
    let mut probe = Command::new(program);
    // Cargo's own tools take their name as the first argument.
    probe.args([program.trim_start_matches("cargo-"), "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// A Python with the packages of `tests/requirements.txt`, in an environment of its own.
pub(crate) fn python() -> Result<PathBuf, Error> {
    python_with("python", &root()?.join("tests").join("requirements.txt"))
}

/// A Python with the peers of the benchmarks, apart from the one of the tests.
pub(crate) fn peers_python() -> Result<PathBuf, Error> {
    python_with("peers", &root()?.join("bench").join("peers").join("requirements.txt"))
}

fn python_with(name: &str, requirements: &Path) -> Result<PathBuf, Error> {
    let wanted = std::fs::read_to_string(requirements)?;
    let folder = cache()?.join(name);
    let (program, stamp) = (folder.join("bin").join("python"), folder.join("requirements.txt"));
    if program.exists() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(program);
    }
    if run(venv(&folder)?).is_err() {
        // Debian keeps the module in a package of its own.
        run(command("apt-get", &["update", "-q"])?)?;
        run(command("apt-get", &["install", "-y", "-q", "python3-venv", "python3-pip"])?)?;
        run(venv(&folder)?)?;
    }
    let mut install = command(&program, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])?;
    install.arg(requirements);
    run(install)?;
    std::fs::write(stamp, wanted)?;
    Ok(program)
}

fn venv(folder: &Path) -> Result<Command, Error> {
    let mut venv = command("python3", &["-m", "venv", "--clear"])?;
    venv.arg(folder);
    Ok(venv)
}

/// A program of a Debian package, installed if it is not there and that can be done. Whoever needs it and does not find
/// it skips what it is for, and says so.
pub(crate) fn debian(program: &str, package: &str) {
    let is_there = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    if is_there(program) {
        return;
    }
    let install = |arguments: &[&str]| run(command("apt-get", arguments)?);
    let installed = install(&["update", "-q"]).and_then(|()| install(&["install", "-y", "-q", package]));
    if let Err(error) = installed {
        println!("{program} is not here and could not be installed: {error}");
    }
}
