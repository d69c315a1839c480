//! The copy of the checkout in which mutants are put in.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// Makes `copy` what the checkout at `root` is: all that git knows or would add, changes that are not committed too. The
/// files of `instead` have these contents, those of `without` are left out.
///
/// What is as it should be already is not written again, so that cargo builds only what is new. What is written is new by
/// its date too, however old what it is copied from: else cargo would take what was built from the file before it.
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
        let text = match instead.get(file) {
            Some(text) => text.clone().into_bytes(),
            None => fs::read(root.join(file))?,
        };
        if !fs::read(&target).is_ok_and(|there| there == text) {
            fs::write(&target, text)?;
            fs::set_permissions(&target, fs::metadata(root.join(file))?.permissions())?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_the_checkout_with_other_contents_and_only_what_is_new_is_written() {
        let (root, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (root, target) = (root.path(), target.path());
        let git = |arguments: &[&str]| {
            assert!(Command::new("git").args(arguments).current_dir(root).status().unwrap().success())
        };
        let write = |file: &str, text: &str| {
            fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            fs::write(root.join(file), text).unwrap();
        };
        git(&["init", "--quiet"]);
        write(".gitignore", "built\n");
        write("src/lib.rs", "old");
        write("built", "not for git");
        git(&["add", "."]);
        write("src/lib.rs", "new");
        write("src/added.rs", "added");
        write("tests/model.rs", "of another crate");
        let instead = HashMap::from([(PathBuf::from("src/added.rs"), "edited".to_owned())]);
        let run = |instead| copy(root, target, instead, |file| file.ends_with("model.rs")).unwrap();
        let of_copy = |file: &str| fs::read_to_string(target.join(file)).ok();
        let date = |file: &str| fs::metadata(target.join(file)).unwrap().modified().unwrap();

        run(&instead);
        assert_eq!(of_copy("src/lib.rs").as_deref(), Some("new"));
        assert_eq!(of_copy("src/added.rs").as_deref(), Some("edited"));
        assert_eq!((of_copy("built"), of_copy("tests/model.rs")), (None, None));

        let dates = (date("src/lib.rs"), date("src/added.rs"));
        fs::remove_file(root.join(".gitignore")).unwrap();
        fs::remove_file(root.join("built")).unwrap();
        run(&instead);
        assert_eq!((date("src/lib.rs"), date("src/added.rs")), dates);
        assert_eq!(of_copy(".gitignore"), None);

        let old = std::time::SystemTime::UNIX_EPOCH;
        fs::File::options().write(true).open(root.join("src/added.rs")).unwrap().set_modified(old).unwrap();
        run(&HashMap::new());
        assert_eq!(of_copy("src/added.rs").as_deref(), Some("added"));
        assert!(date("src/added.rs") >= dates.1, "older than what was built from the edited file");
    }
}
