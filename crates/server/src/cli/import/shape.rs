//! From a row's columns to the line that is sent: which column is which field.
//!
//! The rule: nothing of a row is lost without a word. A column is a field of an event by its name, or by `--map`; any other
//! goes into `data` under its own name. Left out are only what the service says itself (`received_at`, `offset`, …) and
//! what `--map COLUMN=` names.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::value::RawValue;

use crate::cli::failure::{Failure, Result};

/// Texts of an event.
const TEXTS: [&str; 8] =
    ["event_id", "session_id", "category", "name", "timestamp", "sent_at", "user_id", "anonymous_id"];
/// JSON of an event.
const PAYLOADS: [&str; 2] = ["data", "context"];
/// What the service says of an event: it says it anew.
const OWN: [&str; 8] =
    ["application", "received_at", "received_date", "timestamp_raw", "skew_ms", "problems", "partition", "offset"];
const REQUIRED: [&str; 3] = ["session_id", "category", "name"];

/// `NAME=VALUE`, as given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    name: String,
    value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        // A column may have an equals sign in its name, a field has none.
        let (name, value) = text.split_once('=').ok_or("write it with an equals sign, such as time=timestamp")?;
        if name.is_empty() {
            return Err("there is nothing before the equals sign: write it such as time=timestamp".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// A value of a row.
#[derive(Clone, Debug)]
pub(crate) enum Cell<'a> {
    /// None at all.
    Null,
    /// A text that may stand for anything: CSV.
    Text(Cow<'a, str>),
    /// JSON as it is.
    Json(Cow<'a, str>),
}

/// Where a column goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Text(&'static str),
    Payload(&'static str),
    Key(&'static str, String),
    Nowhere,
}

/// What is wrong with a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The field to blame.
    pub(crate) field: String,
    /// What to do.
    pub(crate) message: String,
}

/// Which column is which field.
#[derive(Debug)]
pub(crate) struct Shape {
    map: Vec<(String, Target)>,
    set: Vec<(Target, String)>,
}

impl Shape {
    /// From what was given.
    pub(crate) fn new(map: &[Assignment], set: &[Assignment]) -> Result<Self> {
        let mut columns = BTreeSet::new();
        for Assignment { name, .. } in map {
            if !columns.insert(name) {
                return Err(Failure::usage(format!("--map {name}=… is there twice: a column is one field")));
            }
        }
        let map = map.iter().map(|Assignment { name, value }| Ok((name.clone(), target("--map", name, value)?)));
        let set = set.iter().map(|Assignment { name, value }| match target("--set", name, name)? {
            Target::Nowhere => Err(no_field("--set", name, value)),
            target => Ok((target, value.clone())),
        });
        Ok(Self { map: map.collect::<Result<_>>()?, set: set.collect::<Result<_>>()? })
    }

    /// True if a row with these keys is an event as it stands.
    pub(crate) fn is_event<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> bool {
        let is_known = |key: &str| TEXTS.contains(&key) || PAYLOADS.contains(&key) || OWN.contains(&key);
        self.map.is_empty() && self.set.is_empty() && keys.into_iter().all(is_known)
    }

    /// Refuses a table that cannot be events before any of it is sent.
    pub(crate) fn check_columns(&self, columns: &[&str], file: &str) -> Result<()> {
        if let Some((missing, _)) = self.map.iter().find(|(name, _)| !columns.contains(&name.as_str())) {
            let known = columns.join(", ");
            return Err(Failure::usage(format!("{file}: --map {missing}=…: there is no such column, only {known}")));
        }
        let mut targets = BTreeSet::new();
        for column in columns {
            let target = format!("{:?}", self.target(column));
            if self.target(column) != Target::Nowhere && !targets.insert(target) {
                return Err(Failure::usage(format!(
                    "{file}: the column {column} is a field that another column is too: leave one out with --map {column}="
                )));
            }
        }
        for field in REQUIRED {
            let target = Target::Text(field);
            let is_given = columns.iter().any(|column| self.target(column) == target)
                || self.set.iter().any(|(set, _)| *set == target);
            if !is_given {
                return Err(Failure::usage(format!(
                    "{file}: no column is {field}: say which one with --map COLUMN={field}, or give all rows one with --set \
                     {field}=VALUE; the columns are {}",
                    columns.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// True if this column is a whole payload.
    pub(crate) fn is_payload(&self, column: &str) -> bool {
        matches!(self.target(column), Target::Payload(_))
    }

    fn target(&self, column: &str) -> Target {
        if let Some((_, target)) = self.map.iter().find(|(name, _)| name == column) {
            return target.clone();
        }
        if let Some(known) = known(column) {
            return known;
        }
        if OWN.contains(&column) { Target::Nowhere } else { Target::Key("data", column.to_owned()) }
    }

    /// The line that is sent for a row, without an id if the row has none.
    pub(crate) fn line<'a>(
        &self,
        columns: impl IntoIterator<Item = (&'a str, Cell<'a>)>,
    ) -> std::result::Result<Vec<u8>, Misfit> {
        let mut event = Parts::default();
        for (column, cell) in columns {
            event.put(self.target(column), &cell, column)?;
        }
        for (target, value) in &self.set {
            if !event.has(target) {
                event.put(target.clone(), &Cell::Text(Cow::Borrowed(value)), "--set")?;
            }
        }
        Ok(event.write())
    }
}

fn known(name: &str) -> Option<Target> {
    let text = TEXTS.iter().find(|known| **known == name).map(|known| Target::Text(known));
    text.or_else(|| PAYLOADS.iter().find(|known| **known == name).map(|known| Target::Payload(known)))
}

fn target(option: &str, name: &str, field: &str) -> Result<Target> {
    if field.is_empty() {
        return Ok(Target::Nowhere);
    }
    let key = |payload: &'static str| {
        let key = field.strip_prefix(payload)?.strip_prefix('.').filter(|key| !key.is_empty())?;
        Some(Target::Key(payload, key.to_owned()))
    };
    known(field).or_else(|| PAYLOADS.into_iter().find_map(key)).ok_or_else(|| no_field(option, name, field))
}

fn no_field(option: &str, name: &str, field: &str) -> Failure {
    let given = if name == field { String::new() } else { format!(" {name}={field}") };
    Failure::usage(format!(
        "{option}{given}: there is no field {field}: use {}, data, context, data.KEY or context.KEY",
        TEXTS.join(", ")
    ))
}

/// An event on its way: JSON texts.
#[derive(Default)]
struct Parts {
    texts: Vec<(&'static str, String)>,
    payloads: [Payload; PAYLOADS.len()],
}

#[derive(Default)]
struct Payload {
    whole: Option<String>,
    keys: Vec<(String, String)>,
}

impl Parts {
    fn payload(&mut self, name: &str) -> &mut Payload {
        &mut self.payloads[usize::from(name == PAYLOADS[1])]
    }

    fn has(&mut self, target: &Target) -> bool {
        match target {
            Target::Nowhere => true,
            Target::Text(field) => self.texts.iter().any(|(known, _)| known == field),
            Target::Payload(name) => self.payload(name).whole.is_some(),
            Target::Key(name, key) => self.payload(name).keys.iter().any(|(known, _)| known == key),
        }
    }

    fn put(&mut self, target: Target, cell: &Cell<'_>, column: &str) -> std::result::Result<(), Misfit> {
        let json = match (&target, cell) {
            (Target::Nowhere, _) | (_, Cell::Null) => return Ok(()),
            (Target::Text(_), Cell::Text(text)) if text.is_empty() => return Ok(()),
            (Target::Text("category" | "name"), Cell::Json(json)) if json.starts_with(is_plain) => quoted(json),
            (Target::Text(_), Cell::Text(text)) => quoted(text),
            (Target::Payload(_) | Target::Key(..), Cell::Text(text)) if text.is_empty() => return Ok(()),
            (Target::Payload(_), Cell::Text(text)) => json_of(text).unwrap_or_else(|| quoted(text)),
            (Target::Key(..), Cell::Text(text)) if text.starts_with(is_plain) => {
                json_of(text).unwrap_or_else(|| quoted(text))
            }
            (Target::Key(..), Cell::Text(text)) => quoted(text),
            (_, Cell::Json(json)) => json.clone().into_owned(),
        };
        if self.has(&target) {
            let (field, what) = match target {
                Target::Text(field) | Target::Payload(field) => (field.to_owned(), field.to_owned()),
                Target::Key(payload, key) => (payload.to_owned(), format!("{payload}.{key}")),
                Target::Nowhere => return Ok(()),
            };
            let message = format!("{what} is given twice, by {column} too: leave one out with --map {column}=");
            return Err(Misfit { field, message });
        }
        match target {
            Target::Nowhere => {}
            Target::Text(field) => self.texts.push((field, json)),
            Target::Payload(name) => self.payload(name).whole = Some(json),
            Target::Key(name, key) => self.payload(name).keys.push((key, json)),
        }
        Ok(())
    }

    fn write(self) -> Vec<u8> {
        let mut members: Vec<String> = self.texts.iter().map(|(field, json)| format!("\"{field}\":{json}")).collect();
        for (name, Payload { whole, keys }) in PAYLOADS.into_iter().zip(self.payloads) {
            let extra: Vec<String> = keys.iter().map(|(key, json)| format!("{}:{json}", quoted(key))).collect();
            match whole {
                None if extra.is_empty() => {}
                None => members.push(format!("\"{name}\":{{{}}}", extra.join(","))),
                Some(whole) if extra.is_empty() => members.push(format!("\"{name}\":{whole}")),
                // The payload's own keys come last, and so they count where both have one.
                Some(whole) => match whole.trim().strip_prefix('{') {
                    Some(rest) if rest.trim_start().starts_with('}') => {
                        members.push(format!("\"{name}\":{{{}}}", extra.join(",")));
                    }
                    Some(rest) => members.push(format!("\"{name}\":{{{},{rest}", extra.join(","))),
                    None => members.push(format!("\"{name}\":{{{},\"{name}\":{whole}}}", extra.join(","))),
                },
            }
        }
        format!("{{{}}}", members.join(",")).into_bytes()
    }
}

/// What JSON numbers, true and false begin with.
fn is_plain(first: char) -> bool {
    first.is_ascii_digit() || matches!(first, '-' | 't' | 'f')
}

/// The text if it is JSON.
fn json_of(text: &str) -> Option<String> {
    let text = text.trim();
    serde_json::from_str::<&RawValue>(text).is_ok().then(|| text.to_owned())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shape(map: &[&str], set: &[&str]) -> Result<Shape> {
        let read = |given: &[&str]| given.iter().map(|text| text.parse().unwrap()).collect::<Vec<Assignment>>();
        Shape::new(&read(map), &read(set))
    }

    fn line(shape: &Shape, cells: &[(&str, &str)]) -> Value {
        let cells = cells.iter().map(|(name, text)| (*name, Cell::Text(Cow::Borrowed(text))));
        serde_json::from_slice(&shape.line(cells).unwrap()).unwrap()
    }

    #[test]
    fn columns_are_fields_by_name_by_map_or_parts_of_data() {
        let shape =
            shape(&["when=timestamp", "who=user_id", "junk=", "ip=context.ip"], &["category=page", "name=v"]).unwrap();
        let cells = [
            ("session_id", "s"),
            ("when", "2022-01-09"),
            ("who", ""),
            ("junk", "x"),
            ("ip", "::1"),
            ("n", "10"),
            ("zip", "007"),
            ("yes", "true"),
            ("none", ""),
            ("name", "own"),
            ("offset", "5"),
        ];
        assert_eq!(
            line(&shape, &cells),
            json!({"session_id": "s", "timestamp": "2022-01-09", "category": "page", "name": "own",
                   "context": {"ip": "::1"}, "data": {"n": 10, "zip": "007", "yes": true}})
        );
    }

    #[test]
    fn a_payload_column_is_json_and_takes_others_in() {
        let shape = shape(&[], &[]).unwrap();
        let data = |cells: &[(&str, &str)]| line(&shape, cells)["data"].clone();
        assert_eq!(data(&[("data", r#"{"a":1}"#), ("b", "x")]), json!({"b": "x", "a": 1}));
        assert_eq!(data(&[("data", "{ }"), ("b", "x")]), json!({"b": "x"}));
        assert_eq!(data(&[("data", "[1]"), ("b", "x")]), json!({"b": "x", "data": [1]}));
        assert_eq!(data(&[("data", "not json")]), json!("not json"));
    }

    #[test]
    fn wrong_assignments_are_named() {
        for (map, set, word) in [
            (vec!["a=sesion_id"], vec![], "sesion_id"),
            (vec!["a=name", "a=category"], vec![], "twice"),
            (vec![], vec!["nam=x"], "nam"),
            (vec!["a=data."], vec![], "data."),
        ] {
            let failure = shape(&map, &set).unwrap_err().to_string();
            assert!(failure.contains(word), "{failure}");
        }
        let shape = shape(&["x=name"], &["category=c"]).unwrap();
        let check = |columns: &[&str]| shape.check_columns(columns, "f").unwrap_err().to_string();
        assert!(check(&["name", "session_id"]).contains("no such column"));
        assert!(check(&["x", "name", "session_id"]).contains("--map name="));
        assert!(check(&["x", "y"]).contains("--map COLUMN=session_id"));
        assert!(shape.check_columns(&["x", "session_id", "whatever"], "f").is_ok());
        let twice = [("x", "1"), ("name", "2")].map(|(name, text)| (name, Cell::Text(Cow::Borrowed(text))));
        assert_eq!(shape.line(twice).unwrap_err().field, "name");
    }
}
