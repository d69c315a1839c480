//! The copy of the checkout in which mutants are put in.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Makes `copy` what the checkout at `root` is: all that git knows or would add, changes that are not committed too. The
/// files of `instead` have these contents, those of `without` are left out.
///
/// What is as it should be already is not written again, and copies are as old as what they are copied from, so that cargo
/// builds again only what is new.
pub(crate) fn copy(
    root: &Path,
    copy: &Path,
    instead: &HashMap<PathBuf, String>,
    without: impl Fn(&Path) -> bool,
) -> Result<(), Error> {
    let mut wanted: BTreeSet<PathBuf> = files(root)?.into_iter().filter(|file| !without(file)).collect();
    wanted.retain(|file| root.join(file).is_file());
    for file in &wanted {
        let target = copy.join(file);
        fs::create_dir_all(target.parent().ok_or("a file has no folder")?)?;
        match instead.get(file) {
            Some(text) if fs::read(&target).is_ok_and(|there| there == text.as_bytes()) => {}
            Some(text) => fs::write(&target, text)?,
            None => copy_file(&root.join(file), &target)?,
        }
    }
    remove_others(copy, copy, &wanted)
}

/// What git knows of the checkout, or would add.
fn files(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git ls-files: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let names = String::from_utf8(output.stdout)?;
    Ok(names.split_terminator('\0').map(PathBuf::from).collect())
}

fn copy_file(from: &Path, to: &Path) -> Result<(), Error> {
    let wanted = fs::metadata(from)?;
    let is_there = fs::metadata(to).is_ok_and(|there| {
        there.len() == wanted.len() && matches!((there.modified(), wanted.modified()), (Ok(a), Ok(b)) if a == b)
    });
    if !is_there {
        fs::copy(from, to)?;
        fs::File::options().write(true).open(to)?.set_modified(wanted.modified()?)?;
    }
    Ok(())
}

/// Removes what was copied once and is not wanted any more.
fn remove_others(folder: &Path, copy: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, copy, wanted)?;
        } else if !wanted.contains(path.strip_prefix(copy)?) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Takes away what cargo told this program about itself: build scripts look at such variables, and all that is built on
/// them would be built again.
pub(crate) fn without_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
}
