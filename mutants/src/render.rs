//! The text of a file with its mutants in it, and which bytes of it are whose.
//!
//! What a mutant does not change stands first in each choice, so that an error about two branches that do not fit is told
//! about the other one. Operands stand in both; only one branch runs. Two operators that are found in chains are written
//! so that their operands stand once: a long chain would double with each link.

use std::ops::Range;

use crate::schema::{Id, Kind, Node};

/// What `crate::__mutant` is called in the copy.
const CHOSEN: &str = "crate::__mutant";

/// A text, and the bytes of it that belong to mutants.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rendered {
    pub text: String,
    pub marks: Vec<Mark>,
}

/// Bytes that are there for some mutants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub range: Range<usize>,
    pub ids: Vec<Id>,
    /// Only what the mutant puts in, not what is around it: an error here is one of the mutant itself.
    pub is_own: bool,
}

impl Rendered {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn append(&mut self, other: Self) {
        let shift = self.text.len();
        self.text.push_str(&other.text);
        self.marks.extend(
            other
                .marks
                .into_iter()
                .map(|mark| Mark { range: mark.range.start + shift..mark.range.end + shift, ..mark }),
        );
    }

    /// Marks what was put in since `start`.
    fn mark(&mut self, start: usize, ids: Vec<Id>, is_own: bool) {
        self.marks.push(Mark { range: start..self.text.len(), ids, is_own });
    }
}

/// The file with all that is in `nodes`, each of them before those inside it.
pub(crate) fn render(text: &str, nodes: &[Node]) -> Rendered {
    Source { text }.render(0..text.len(), nodes)
}

#[derive(Clone, Copy)]
struct Source<'a> {
    text: &'a str,
}

impl Source<'_> {
    /// These bytes, with the nodes that are inside them.
    fn render(self, range: Range<usize>, nodes: &[Node]) -> Rendered {
        let mut out = Rendered::default();
        let (mut at, mut rest) = (range.start, nodes);
        while let Some((node, others)) = rest.split_first() {
            let inner = others.iter().take_while(|other| other.range.start < node.range.end).count();
            if node.range.start >= at && node.range.end <= range.end {
                out.push(&self.text[at..node.range.start]);
                out.append(self.node(node, &others[..inner]));
                at = node.range.end;
            }
            rest = &others[inner..];
        }
        out.push(&self.text[at..range.end]);
        out
    }

    fn node(self, node: &Node, inner: &[Node]) -> Rendered {
        let whole = || self.render(node.range.clone(), inner);
        match &node.kind {
            Kind::Body(mutants) => self.body(mutants, whole()),
            Kind::Binary { left, operator, right, mutants } => {
                let [left_text, right_text] = [left, right].map(|side| self.render(side.clone(), inner));
                let operator = &self.text[operator.clone()];
                let is_chain = inner.iter().any(|other| other.range.end <= left.end);
                match mutants.as_slice() {
                    [(id, to)] if is_opposite(operator, to) => opposite(*id, operator, left_text, right_text),
                    _ if is_chain && is_arithmetic(operator) => {
                        let mut out = plain("({ let __left = ");
                        out.append(left_text);
                        out.push("; ");
                        out.append(operators(plain("__left"), operator, &right_text, mutants));
                        out.push(" })");
                        out
                    }
                    _ => operators(left_text, operator, &right_text, mutants),
                }
            }
            Kind::Unary { operand, mutant } => choice(whole(), vec![(*mutant, self.render(operand.clone(), inner))]),
            Kind::Guard(mutants) => choice(whole(), mutants.iter().map(|(id, text)| (*id, plain(text))).collect()),
            Kind::Struct(fields) => {
                let without = |field: &Range<usize>| {
                    let mut out = self.render(node.range.start..field.start, inner);
                    out.append(self.render(field.end..node.range.end, inner));
                    out
                };
                choice(whole(), fields.iter().map(|(id, field)| (*id, without(field))).collect())
            }
            Kind::Arm(mutant) => {
                let mut out = plain(&format!(" if !{CHOSEN}({mutant})"));
                out.mark(0, vec![*mutant], true);
                out
            }
            Kind::Const(..) => Rendered::default(),
        }
    }

    fn body(self, mutants: &[(Id, String)], statements: Rendered) -> Rendered {
        let mut out = Rendered::default();
        for (id, value) in mutants {
            let start = out.text.len();
            out.push(&format!("if {CHOSEN}({id}) {{ return {value}; }} "));
            out.mark(start, vec![*id], true);
        }
        out.append(statements);
        out
    }
}

fn plain(text: &str) -> Rendered {
    Rendered { text: text.to_owned(), marks: Vec::new() }
}

/// `original`, or the text of the mutant that is chosen.
fn choice(original: Rendered, alternatives: Vec<(Id, Rendered)>) -> Rendered {
    let ids: Vec<Id> = alternatives.iter().map(|(id, _)| *id).collect();
    let none: Vec<String> = ids.iter().map(|id| format!("!{CHOSEN}({id})")).collect();
    let mut out = plain(&format!("(if {} {{ (", none.join(" && ")));
    out.append(original);
    out.push(") }");
    for (index, (id, alternative)) in alternatives.into_iter().enumerate() {
        let is_last = index + 1 == ids.len();
        out.push(&if is_last { " else { ".to_owned() } else { format!(" else if {CHOSEN}({id}) {{ ") });
        let start = out.text.len();
        out.push("(");
        out.append(alternative);
        out.push(")");
        out.mark(start, vec![id], true);
        out.push(" }");
    }
    out.push(")");
    out.mark(0, ids, false);
    out
}

/// `left operator right`, or with the operator of the mutant that is chosen.
fn operators(left: Rendered, operator: &str, right: &Rendered, mutants: &[(Id, String)]) -> Rendered {
    let with = |to: &str, [open, close]: [&str; 2]| {
        let mut out = plain(open);
        out.append(left.clone());
        out.push(&format!("{close} {to} {open}"));
        out.append(right.clone());
        out.push(close);
        out
    };
    let alternatives = mutants.iter().map(|(id, to)| (*id, with(to, ["(", ")"]))).collect();
    choice(with(operator, ["", ""]), alternatives)
}

/// Whether the other operator is the opposite as soon as one side is known.
fn is_opposite(operator: &str, to: &str) -> bool {
    matches!((operator, to), ("&&", "||") | ("||", "&&") | ("==", "!=") | ("!=", "=="))
}

/// Such a pair of operators, with each side once.
fn opposite(id: Id, operator: &str, left: Rendered, right: Rendered) -> Rendered {
    let chosen = format!("{CHOSEN}({id})");
    let (open, between, close) = match operator {
        "&&" => ("(if (", format!(") != {chosen} {{ ("), format!(") }} else {{ {chosen} }})")),
        "||" => ("(if (", format!(") == {chosen} {{ ("), format!(") }} else {{ !{chosen} }})")),
        _ => ("((", format!(" {operator} "), format!(") != {chosen})")),
    };
    let mut out = plain(open);
    out.append(left);
    out.push(&between);
    out.append(right);
    out.push(&close);
    out.mark(0, vec![id], false);
    out
}

/// Whether both sides are taken by value, and a value comes out.
fn is_arithmetic(operator: &str) -> bool {
    matches!(operator, "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>")
}

#[cfg(test)]
pub(crate) mod tests;
