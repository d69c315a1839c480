//! A line out of text, with errors that mark their place.

use eye_event::Timestamp;

use super::scan::{self, Wrong, bare, is_word, quoted};
use super::{LINE_BYTES_MAX, LINE_CONDITIONS_MAX, LINE_DEPTH_MAX, Line, Unit, When};
use crate::condition::{Condition, Expr, Literal, Op};
use crate::error::{Error, Result};
use crate::field::Field;

/// Characters of the line shown on either side of the mark.
const SHOWN_CHARS: usize = 30;

pub(super) fn parse(text: &str) -> Result<Line> {
    if text.len() > LINE_BYTES_MAX {
        let message = format!("query has {} bytes, at most {LINE_BYTES_MAX} are read: make it shorter", text.len());
        return Err(Error::invalid("query", message));
    }
    let mut parser = Parser { rest: text, depth: 0, conditions: 0, since: None, until: None, has_times: None };
    parser.line().map_err(|wrong| mark(text, &wrong))
}

/// The message, with the place marked: `… at 12: name~buy ⟨here⟩data.plan`.
fn mark(text: &str, wrong: &Wrong) -> Error {
    let at = text.len().saturating_sub(wrong.left);
    let (before, after) = (&text[..at], &text[at..]);
    let begin = before.char_indices().rev().nth(SHOWN_CHARS - 1).map_or(0, |(index, _)| index);
    let end = after.char_indices().nth(SHOWN_CHARS).map_or(after.len(), |(index, _)| index);
    let place = before.chars().count() + 1;
    let shown = format!("{}⟨here⟩{}", &before[begin..], &after[..end]);
    Error::invalid("query", format!("{} (at character {place}: {shown})", wrong.message))
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
    conditions: usize,
    since: Option<When>,
    until: Option<When>,
    /// Where the first time stands: bytes left.
    has_times: Option<usize>,
}

type Parsed<T> = std::result::Result<T, Wrong>;

impl<'a> Parser<'a> {
    fn line(&mut self) -> Parsed<Line> {
        let expr = self.group()?;
        if !self.rest.is_empty() {
            return Err(self.wrong("there is no open parenthesis to close: leave this one out"));
        }
        Ok(Line { expr, since: self.since, until: self.until })
    }

    fn wrong(&self, message: impl Into<String>) -> Wrong {
        Wrong::at(self.rest, message)
    }

    /// Terms up to the end or a closing parenthesis; `None` if there are none.
    fn group(&mut self) -> Parsed<Option<Expr>> {
        let mut any = Vec::new();
        loop {
            let all = self.terms()?;
            let is_more = self.take_or();
            match all {
                Some(all) => any.push(all),
                None if !is_more && any.is_empty() => return Ok(None),
                None => return Err(self.wrong("a condition is missing beside OR: write one on both sides")),
            }
            if !is_more && any.len() == 1 {
                return Ok(any.pop());
            }
            if let (0, Some(left)) = (self.depth, self.has_times) {
                let message = "since and until hold for the whole line: put what has OR in it into parentheses";
                return Err(Wrong { left, message: message.to_owned() });
            }
            if !is_more {
                return Ok(Some(Expr::Any(any)));
            }
        }
    }

    fn terms(&mut self) -> Parsed<Option<Expr>> {
        let mut all = Vec::new();
        loop {
            self.blanks();
            if self.rest.is_empty() || self.rest.starts_with(')') || self.is_or() {
                break;
            }
            all.extend(self.term()?);
            if !self.rest.is_empty() && !self.rest.starts_with(')') && !self.rest.starts_with(char::is_whitespace) {
                return Err(self.wrong("a blank is missing here: write one between two conditions"));
            }
        }
        Ok(match all.len() {
            0 | 1 => all.pop(),
            _ => Some(Expr::All(all)),
        })
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn is_or(&self) -> bool {
        self.rest
            .strip_prefix("OR")
            .is_some_and(|after| !after.starts_with(|next| is_word(next) || ".:=~<>!".contains(next)))
    }

    fn take_or(&mut self) -> bool {
        let is_or = self.is_or();
        if is_or {
            self.rest = &self.rest[2..];
        }
        is_or
    }

    /// One term; `None` if it was a time.
    fn term(&mut self) -> Parsed<Option<Expr>> {
        let begin = self.rest.len();
        let mut is_not = false;
        while let Some(after) = self.rest.strip_prefix('-') {
            self.rest = after;
            is_not = !is_not;
        }
        let was_not = begin != self.rest.len();
        let expr = if self.rest.starts_with('(') { Some(self.parentheses()?) } else { self.condition()? };
        match expr {
            None if was_not || self.depth > 0 => Err(Wrong {
                left: begin,
                message:
                    "since and until hold for the whole line: write them outside parentheses, without a minus sign"
                        .to_owned(),
            }),
            None => {
                self.has_times.get_or_insert(begin);
                Ok(None)
            }
            Some(expr) => Ok(Some(if is_not { negate(expr) } else { expr })),
        }
    }

    fn parentheses(&mut self) -> Parsed<Expr> {
        if self.depth == LINE_DEPTH_MAX {
            return Err(self.wrong(format!("parentheses are nested deeper than {LINE_DEPTH_MAX}: make it flatter")));
        }
        let begin = self.rest;
        self.rest = &self.rest[1..];
        self.depth += 1;
        let inner = self.group()?;
        self.depth -= 1;
        self.rest = self.rest.strip_prefix(')').ok_or_else(|| Wrong::at(begin, "the parenthesis is not closed"))?;
        inner.ok_or_else(|| {
            Wrong::at(begin, "there is nothing in the parentheses: write a condition, or leave them out")
        })
    }

    /// One condition; `None` if it was a time, which is kept.
    fn condition(&mut self) -> Parsed<Option<Expr>> {
        self.conditions += 1;
        if self.conditions > LINE_CONDITIONS_MAX {
            return Err(self.wrong(format!("the line has more than {LINE_CONDITIONS_MAX} conditions")));
        }
        let begin = self.rest;
        let word = scan::word(&mut self.rest);
        let path = scan::path(&mut self.rest)?;
        let (op, is_not) = self.op(begin)?;
        if path.is_empty() {
            let is_plain = op == Op::Is && !is_not;
            match word {
                "since" | "from" if is_plain => return self.time(begin, true),
                "until" | "to" if is_plain => return self.time(begin, false),
                "problem" if op == Op::Is => {
                    let at = self.rest;
                    let problem =
                        self.value()?.text().parse().map_err(|error: Error| Wrong::at(at, error.to_string()))?;
                    return Ok(Some(negate_if(is_not, Expr::Is(Condition::Problem(problem)))));
                }
                "has" if op == Op::Is => return self.has().map(|has| Some(negate_if(is_not, has))),
                _ => {}
            }
        }
        let field = Field::with_path(word, path).ok_or_else(|| unknown(begin, word))?;
        if matches!(op, Op::Less | Op::LessOrIs | Op::More | Op::MoreOrIs) && field.path().is_none() {
            let message = format!("{field} has no size to compare: use : or ~, or compare a data field");
            return Err(Wrong::at(begin, message));
        }
        let values = self.values()?;
        Ok(Some(negate_if(is_not, Expr::Is(Condition::Compare { field, op, values }))))
    }

    fn op(&mut self, begin: &str) -> Parsed<(Op, bool)> {
        const OPS: [(&str, Op, bool); 9] = [
            ("!=", Op::Is, true),
            ("!~", Op::Contains, true),
            ("<=", Op::LessOrIs, false),
            (">=", Op::MoreOrIs, false),
            (":", Op::Is, false),
            ("=", Op::Is, false),
            ("~", Op::Contains, false),
            ("<", Op::Less, false),
            (">", Op::More, false),
        ];
        for (text, op, is_not) in OPS {
            if let Some(after) = self.rest.strip_prefix(text) {
                self.rest = after;
                return Ok((op, is_not));
            }
        }
        let word = begin.split(char::is_whitespace).next().unwrap_or_default();
        Err(Wrong::at(
            begin,
            format!("{word} is no condition: write a field, an operator and a value, as in name~{word}"),
        ))
    }

    fn has(&mut self) -> Parsed<Expr> {
        let begin = self.rest;
        let word = scan::word(&mut self.rest);
        let path = scan::path(&mut self.rest)?;
        let field = Field::with_path(word, path).ok_or_else(|| unknown(begin, word))?;
        Ok(Expr::Is(Condition::Has(field)))
    }

    fn time(&mut self, begin: &'a str, is_since: bool) -> Parsed<Option<Expr>> {
        let at = self.rest;
        let value = self.value()?;
        let text = value.text();
        let length = Unit::length(text).map(|(count, unit)| When::Ago(count, unit));
        let when = length.or_else(|| Timestamp::parse_bound(text).map(When::At)).ok_or_else(|| {
            Wrong::at(
                at,
                format!("{text:?} is no time: write a length such as 30m, 24h or 7d, or a date or time in UTC"),
            )
        })?;
        let place = if is_since { &mut self.since } else { &mut self.until };
        if place.replace(when).is_some() {
            return Err(Wrong::at(begin, "this time is there twice: write it once"));
        }
        Ok(None)
    }

    fn values(&mut self) -> Parsed<Vec<Literal>> {
        let mut values = vec![self.value()?];
        while let Some(after) = self.rest.strip_prefix(',') {
            self.rest = after;
            values.push(self.value()?);
        }
        Ok(values)
    }

    fn value(&mut self) -> Parsed<Literal> {
        if self.rest.starts_with('"') {
            return quoted(&mut self.rest).map(Literal::quoted);
        }
        if self.rest.starts_with(['=', '~', '<', '>', '!']) {
            return Err(self.wrong(
                "the operator is none of : = != ~ !~ < <= > >=: write a value that begins like this in quotes",
            ));
        }
        match bare(&mut self.rest) {
            "" => Err(self.wrong("a value is missing: write one, in quotes if it has blanks or is empty")),
            value => Ok(Literal::bare(value)),
        }
    }
}

fn unknown(begin: &str, word: &str) -> Wrong {
    let message = match word {
        "data" | "context" => format!("{word} needs a path: write {word}.plan, or {word}.\"a key\""),
        _ => format!("there is no field {word:?}: use {}, problem, has, since or until", Field::SPELLINGS),
    };
    Wrong::at(begin, message)
}

fn negate_if(is_not: bool, expr: Expr) -> Expr {
    if is_not { negate(expr) } else { expr }
}

/// Not not is nothing.
fn negate(expr: Expr) -> Expr {
    match expr {
        Expr::Not(inner) => *inner,
        other => Expr::Not(Box::new(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "query", .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn the_line_of_the_documentation_is_read() {
        let text = "app:web category:\"page interaction\" name~buy data.plan=pro -data.bot=true since:24h";
        let line = parse(text).unwrap();
        assert_eq!(
            line.to_string(),
            "application:web category:\"page interaction\" name~buy data.plan=pro -data.bot=true since:24h"
        );
        assert_eq!(line.since, Some(When::Ago(24, Unit::Hour)));
        assert_eq!(parse(&line.to_string()).unwrap(), line);
    }

    #[test]
    fn other_spellings_are_the_same_line() {
        for (one, other) in [
            ("user!=ann", "-user_id:ann"),
            ("--name:a", "name:a"),
            ("(name:a)", "name:a"),
            ("-(-name:a)", "name:a"),
            ("data.a!=1", "-data.a:1"),
            ("from:2026-01-02 name=a", "name:a since:2026-01-02T00:00:00Z"),
            ("  name:a\tname:b ", "name:a name:b"),
            ("(name:a OR name:b)", "name:a OR name:b"),
        ] {
            assert_eq!(parse(one).unwrap(), parse(other).unwrap(), "{one}");
        }
        assert_ne!(parse("data.a=\"1\"").unwrap(), parse("data.a=1").unwrap(), "a quoted value is a string");
        assert_eq!(parse(" ").unwrap(), Line::default());
    }

    #[test]
    fn errors_mark_their_place() {
        for (text, place, what) in [
            ("checkout", 1, "name~checkout"),
            ("name:a foo:b", 8, "no field \"foo\""),
            ("name:", 6, "a value is missing"),
            ("name:a,", 8, "a value is missing"),
            ("name==a", 6, "the operator is none of"),
            ("name:\"a", 6, "not closed"),
            ("name:\"a\\n\"", 8, "backslash"),
            ("(name:a", 1, "not closed"),
            ("name:a)", 7, "no open parenthesis"),
            ("()", 1, "nothing in the parentheses"),
            ("name:a OR", 10, "beside OR"),
            ("OR name:a", 3, "beside OR"),
            ("data=1", 1, "data needs a path"),
            ("data.=1", 6, "a key is missing"),
            ("since:yesterday", 7, "no time"),
            ("since:1h since:2h", 10, "twice"),
            ("-since:1h", 1, "whole line"),
            ("(since:1h name:a)", 2, "whole line"),
            ("name:a OR name:b since:1h", 18, "whole line"),
            ("problem:late", 9, "none of these"),
            ("name>a", 1, "no size"),
            ("name:\"a\"name:b", 9, "a blank is missing"),
            ("é:a", 1, "no field \"é\""),
        ] {
            let message = refused(text);
            assert!(message.contains(what), "{text}: {message}");
            assert!(message.contains(&format!("(at character {place}: ")), "{text}: {message}");
            assert!(message.contains("⟨here⟩"), "{text}: {message}");
        }
    }

    #[test]
    fn limits_are_named() {
        assert!(refused(&"x".repeat(LINE_BYTES_MAX + 1)).contains("at most 8192"));
        assert!(refused(&"name:a ".repeat(LINE_CONDITIONS_MAX + 1)).contains("more than 256"));
        let deep = "(".repeat(LINE_DEPTH_MAX + 1);
        assert!(refused(&deep).contains("deeper than 16"));
    }
}
