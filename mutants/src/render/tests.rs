#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::list::{Genre, Mutant, Place, Span};
use crate::schema::{Reason, nodes};
use crate::trial::chooser;

/// A mutant of the one place where the source has this text; what is replaced is between the brackets.
pub(crate) fn mutant(source: &str, genre: Genre, at: &str, replacement: &str) -> Mutant {
    let (before, rest) = at.split_once('«').unwrap();
    let (replaced, after) = rest.split_once('»').unwrap();
    let around = format!("{before}{replaced}{after}");
    assert_eq!(source.matches(&around).count(), 1, "{at}");
    let start = source.find(&around).unwrap() + before.len();
    let place = |byte: usize| {
        let text = &source[..byte];
        let line = text.rsplit('\n').next().unwrap();
        Place { line: text.matches('\n').count() + 1, column: line.chars().count() + 1 }
    };
    let span = Span { start: place(start), end: place(start + replaced.len()) };
    Mutant { name: at.to_owned(), file: "main.rs".to_owned(), span, replacement: replacement.to_owned(), genre }
}

pub(crate) fn edited(source: &str, mutants: &[Mutant]) -> (Rendered, Vec<Node>, Vec<(Id, Reason)>) {
    let numbered: Vec<_> = mutants.iter().enumerate().collect();
    let found = nodes(source, &numbered).unwrap();
    (render(source, &found.nodes), found.nodes, found.left_out)
}

const SOURCE: &str = r#"
use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};

#[derive(Debug, Clone)]
struct Pair { left: u8, right: u8 }

fn lazy(a: bool, b: bool, c: bool) -> bool { a && b || c }
fn sum(a: i64, b: i64, c: i64) -> i64 { /* «»ä */ a + b - c * 2 }
fn less(a: i64, b: i64) -> bool { a + 1 < b }
fn same(a: &str, b: &str) -> bool { a == b }
fn not(a: bool) -> bool { !a }
fn negative(a: i64) -> i64 { -a }
fn grow(mut a: i64) -> i64 { a += 3; a }
const fn next(a: u64) -> u64 { a + 1 }
async fn later() -> u32 { std::future::ready(7).await }
fn unit(a: &mut u8) { *a = 9; }
fn moved(a: String, b: &str) -> String { if a.len() > 1 && a != b { a + b } else { a } }
fn arm(n: u8) -> &'static str {
    match n {
        0 => "none",
        1 if n > 0 => "one",
        _ => "many",
    }
}
fn fields(base: Pair) -> Pair { Pair { left: 1, ..base } }
fn bound(a: Option<i64>) -> bool { if let Some(a) = a && a > 3 { true } else { false } }
fn block(a: i64) -> i64 { let b = match a { 1 => 10, _ => 20 } + 1; b }

fn main() {
    println!("lazy {} {} {}", lazy(true, false, false), lazy(true, true, false), lazy(false, true, true));
    println!("sum {}", sum(10, 5, 3));
    println!("less {} {} {}", less(1, 2), less(1, 3), less(2, 1));
    println!("same {}", same("a", "b"));
    println!("not {}", not(true));
    println!("negative {}", negative(3));
    println!("grow {}", grow(4));
    println!("next {}", next(4));
    let polled = pin!(later()).poll(&mut Context::from_waker(Waker::noop()));
    println!("later {}", matches!(polled, Poll::Ready(7)));
    let mut a = 1;
    unit(&mut a);
    println!("unit {a}");
    println!("moved {}", moved("ab".to_owned(), "c"));
    println!("arm {} {} {}", arm(0), arm(1), arm(2));
    println!("fields {:?}", fields(Pair { left: 5, right: 6 }));
    println!("bound {} {} {}", bound(Some(3)), bound(Some(4)), bound(None));
    println!("block {}", block(1));
}
"#;

/// What is replaced where, by what, and what the program then prints instead.
const CASES: [(Genre, &str, &str, &str); 30] = [
    (Genre::BinaryOperator, "a «&&» b || c", "||", "lazy true true true"),
    (Genre::BinaryOperator, "a && b «||» c", "&&", "lazy false false false"),
    (Genre::BinaryOperator, "a «+» b - c", "-", "sum -1"),
    (Genre::BinaryOperator, "a «+» b - c", "*", "sum 44"),
    (Genre::BinaryOperator, "b «-» c * 2", "+", "sum 21"),
    (Genre::BinaryOperator, "b «-» c * 2", "/", "sum 2"),
    (Genre::BinaryOperator, "c «*» 2", "+", "sum 10"),
    (Genre::BinaryOperator, "a + 1 «<» b", "==", "less true false false"),
    (Genre::BinaryOperator, "a + 1 «<» b", ">", "less false false true"),
    (Genre::BinaryOperator, "a + 1 «<» b", "<=", "less true true false"),
    (Genre::BinaryOperator, "a «+» 1 < b", "-", "less true true false"),
    (Genre::BinaryOperator, "a «==» b", "!=", "same true"),
    (Genre::UnaryOperator, "{ «!»a }", "", "not true"),
    (Genre::UnaryOperator, "{ «-»a }", "", "negative 3"),
    (Genre::BinaryOperator, "a «+=» 3", "-=", "grow 1"),
    (Genre::BinaryOperator, "{ a «+» 1 }", "-", "next 3"),
    (Genre::FnValue, "u64 { «a + 1» }", "0", "next 0"),
    (Genre::FnValue, "{ «std::future::ready(7).await» }", "0", "later false"),
    (Genre::FnValue, "{ «*a = 9;» }", "()", "unit 1"),
    (Genre::BinaryOperator, "a.len() «>» 1", "<", "moved ab"),
    (Genre::BinaryOperator, "1 «&&» a != b", "||", "moved abc"),
    (Genre::BinaryOperator, "a «!=» b", "==", "moved ab"),
    (Genre::MatchArm, "«0 => \"none\",»", "", "arm many one many"),
    (Genre::MatchArmGuard, "1 if «n > 0» =>", "false", "arm none many many"),
    (Genre::MatchArmGuard, "1 if «n > 0» =>", "true", "arm none one many"),
    (Genre::BinaryOperator, "if n «>» 0 =>", "==", "arm none many many"),
    (Genre::StructField, "{ «left: 1,» ..base }", "", "fields Pair { left: 5, right: 6 }"),
    (Genre::BinaryOperator, "&& a «>» 3", ">=", "bound true true false"),
    (Genre::BinaryOperator, "«+» 1; b", "-", "block 9"),
    (Genre::FnValue, "bool { «a == b» }", "true", "same true"),
];

#[test]
fn each_mutant_chosen_does_what_its_name_says_and_nothing_else() {
    let mutants = CASES.map(|(genre, at, replacement, _)| mutant(SOURCE, genre, at, replacement));
    let (edited, _, left_out) = edited(SOURCE, &mutants);
    assert_eq!(left_out, []);
    let folder = tempfile::tempdir().unwrap();
    let (file, program) = (folder.path().join("main.rs"), folder.path().join("main"));
    std::fs::write(&file, edited.text + &chooser(mutants.len())).unwrap();
    let compiled = Command::new("rustc").args(["--edition", "2024", "-o"]).arg(&program).arg(&file).output().unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    let reached = folder.path().join("reached");
    std::fs::write(&reached, "").unwrap();
    let without = printed(&program, "MUTANTS_REACHED", reached.to_str().unwrap());
    assert_eq!(without["lazy"], "lazy false true true");
    assert_eq!(without["moved"], "moved abc");
    let mut ids: Vec<usize> = std::fs::read_to_string(reached).unwrap().lines().map(|id| id.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..CASES.len()).collect::<Vec<_>>(), "each is come to, and written once");
    for (id, (_, at, replacement, line)) in CASES.into_iter().enumerate() {
        let mut expected = without.clone();
        expected.insert(line.split(' ').next().unwrap().to_owned(), line.to_owned());
        assert_eq!(printed(&program, "MUTANT", &id.to_string()), expected, "{at} {replacement}");
    }
}

/// The lines by their first word.
fn printed(program: &Path, variable: &str, value: &str) -> HashMap<String, String> {
    let output = Command::new(program).env(variable, value).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| (line.split(' ').next().unwrap().to_owned(), line.to_owned())).collect()
}

#[test]
fn a_chain_of_operators_does_not_double_with_each_link() {
    let length = |links: usize| {
        let names: Vec<String> = (0..links).map(|link| format!("a{link}")).collect();
        let source = format!("fn sum() -> u32 {{ 1 + {} }}", names.join(" + "));
        let places = names.iter().map(|name| format!(" «+» {name} "));
        let mutants = places.flat_map(|at| ["-", "*"].map(|to| mutant(&source, Genre::BinaryOperator, &at, to)));
        edited(&source, &mutants.collect::<Vec<_>>()).0.text.len()
    };
    assert!(length(8) < 3 * length(4), "{} {}", length(8), length(4));
}

#[test]
fn what_cannot_be_chosen_at_run_time_is_named_with_its_reason() {
    let source = "
const SIZE: usize = 4 * 1024;
struct Buffer([u8; 2 + 3]);
fn words(text: &str) -> impl Iterator<Item = u8> { text.bytes() }
fn chain(a: Option<u8>) { if let Some(b) = a && b > 1 { print(b) } }
fn inside() { const STEP: u8 = 1 << 2; static COUNT: u8 = 6 / 2; }
";
    let cases = [
        (Genre::BinaryOperator, "4 «*» 1024", "+", Reason::Constant),
        (Genre::BinaryOperator, "2 «+» 3", "-", Reason::Constant),
        (Genre::FnValue, "{ «text.bytes()» }", "::std::iter::empty()", Reason::ReturnsTrait),
        (Genre::BinaryOperator, "= a «&&» b", "||", Reason::BesideLet),
        (Genre::BinaryOperator, "1 «<<» 2", ">>", Reason::Constant),
        (Genre::BinaryOperator, "6 «/» 2", "%", Reason::Constant),
        (Genre::Unknown, "«const SIZE»", "static SIZE", Reason::Unknown),
    ];
    let mutants = cases.map(|(genre, at, replacement, _)| mutant(source, genre, at, replacement));
    let (edited, _, mut left_out) = edited(source, &mutants);
    left_out.sort_by_key(|(id, _)| *id);
    assert_eq!(left_out, cases.into_iter().enumerate().map(|(id, case)| (id, case.3)).collect::<Vec<_>>());
    assert_eq!(edited.text, source);
}

#[test]
fn a_function_is_const_no_longer_only_if_it_has_mutants() {
    let source = "pub const fn one() -> u8 { 1 }\npub const fn two() -> u8 { 2 }\n";
    let (edited, nodes, _) = edited(source, &[mutant(source, Genre::FnValue, "{ «1» }", "0")]);
    assert_eq!(
        edited.text,
        "pub  fn one() -> u8 { if crate::__mutant(0) { return 0; } 1 }\npub const fn two() -> u8 { 2 }\n"
    );
    assert!(nodes.iter().any(|node| matches!(&node.kind, Kind::Const(name, ids) if name == "one" && *ids == [0])));
}
