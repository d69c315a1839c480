#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use super::*;
use crate::cargo::Expansion;
use crate::list::Genre;
use crate::render::tests::{edited, mutant};
use crate::schema::Kind;
use crate::trial::chooser;

const SOURCE: &str = r#"
struct Bare;
fn bare() -> Bare { Bare }
fn text(a: String) -> String { a + "x" }
fn nested(a: u32, b: u32) -> bool { a + 1 < b * 2 }
const fn size(a: usize) -> usize { a * 2 }
const SIZE: usize = size(4);
fn main() { bare(); text(String::new()); nested(1, SIZE as u32); }
"#;

fn edits(mutants: &[crate::list::Mutant]) -> Edits {
    let (edited, nodes, _) = edited(SOURCE, mutants);
    let constants = nodes.into_iter().filter_map(|node| match node.kind {
        Kind::Const(name, ids) => Some((name, ids)),
        _ => None,
    });
    Edits { constants: constants.collect(), files: HashMap::from([("main.rs".to_owned(), edited)]) }
}

#[test]
fn the_compilers_errors_name_the_mutants_that_do_not_compile_and_no_others() {
    let mutants = [
        mutant(SOURCE, Genre::FnValue, "Bare { «Bare» }", "Default::default()"),
        mutant(SOURCE, Genre::BinaryOperator, "a «+» \"x\"", "-"),
        mutant(SOURCE, Genre::FnValue, "{ «a + \"x\"» }", "String::new()"),
        mutant(SOURCE, Genre::BinaryOperator, "1 «<» b", ">"),
        mutant(SOURCE, Genre::BinaryOperator, "a «+» 1", "-"),
        mutant(SOURCE, Genre::FnValue, "{ «a + 1 < b * 2» }", "Vec::new()"),
        mutant(SOURCE, Genre::BinaryOperator, "{ a «*» 2 }", "+"),
    ];
    let edits = edits(&mutants);
    let folder = tempfile::tempdir().unwrap();
    let text = edits.files["main.rs"].text.clone() + &chooser(mutants.len());
    std::fs::write(folder.path().join("main.rs"), text).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "--error-format", "json", "--emit", "metadata", "main.rs"]);
    let output = rustc.current_dir(folder.path()).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let errors = told.lines().map(|line| serde_json::from_str::<Diagnostic>(line).unwrap());
    let errors = errors.filter(|error| error.level == "error");
    let mut faults: Vec<_> = errors.flat_map(|error| edits.blame(&error)).collect();
    faults.sort_unstable();
    faults.dedup();
    assert_eq!(faults, [(0, Fault::Own), (1, Fault::Own), (5, Fault::Own), (6, Fault::Shared)], "{told}");
}

fn error(span: Span) -> Diagnostic {
    Diagnostic { message: String::new(), level: "error".to_owned(), code: None, spans: vec![span], rendered: None }
}

fn span(file: &str, bytes: std::ops::Range<usize>) -> Span {
    Span { file_name: file.to_owned(), byte_start: bytes.start, byte_end: bytes.end, is_primary: true, expansion: None }
}

#[test]
fn an_error_in_a_macro_is_of_the_mutant_that_calls_it() {
    let edits = edits(&[mutant(SOURCE, Genre::FnValue, "{ «a + \"x\"» }", "format!(\"x\")")]);
    let start = edits.files["main.rs"].text.find("format!").unwrap();
    let call = span("main.rs", start..start + 12);
    let in_macro = Span { expansion: Some(Box::new(Expansion { span: call })), ..span("macros.rs", 3..9) };
    assert_eq!(edits.blame(&error(in_macro)), [(0, Fault::Own)]);
}

#[test]
fn an_error_elsewhere_is_of_no_mutant() {
    let edits = edits(&[mutant(SOURCE, Genre::FnValue, "{ «a + \"x\"» }", "String::new()")]);
    assert_eq!(edits.blame(&error(span("main.rs", 1..7))), []);
    assert_eq!(edits.blame(&error(span("other.rs", 1..7))), []);
}
