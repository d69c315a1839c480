//! What a test run did not do, and why: told at its end, so that nothing is green only because it was left out.
//!
//! Steps, tests and the torture are processes of their own, and nobody reads what a test prints that passes: each puts
//! a line on a list in the target folder, `what, because why`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use crate::Error;
use crate::run::target;

/// Names the list for the processes of the tests. Not `EYE_…`: the product refuses settings that it does not know.
pub(crate) const LIST: &str = "XTASK_SKIPPED";

/// Where the list is.
pub(crate) fn path() -> Result<PathBuf, Error> {
    Ok(target()?.join("skipped"))
}

/// Begins an empty list.
pub(crate) fn begin() -> Result<(), Error> {
    fs::create_dir_all(target()?)?;
    Ok(fs::write(path()?, "")?)
}

/// Says that a step, or a part of it, is not done.
pub(crate) fn skip(what: &str, why: &str) -> Result<(), Error> {
    println!("skipped: {what}, because {why}");
    let mut list = File::options().create(true).append(true).open(path()?)?;
    Ok(list.write_all(format!("{what}, because {why}\n").as_bytes())?)
}

/// Tells how many things were skipped, and each with its reason.
pub(crate) fn tell() -> Result<(), Error> {
    print!("\n{}", told(&fs::read_to_string(path()?)?));
    Ok(())
}

fn told(list: &str) -> String {
    let lines: Vec<&str> = list.lines().collect();
    if lines.is_empty() {
        return "nothing skipped\n".to_owned();
    }
    let each: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("{} skipped:\n{each}", lines.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_counted() {
        assert_eq!(told(""), "nothing skipped\n");
        let list = "fuzz, because there is no compiler\npsql, because it is not there\n";
        assert_eq!(told(list), format!("2 skipped:\n  {}\n", list.trim_end().replace('\n', "\n  ")));
    }
}
