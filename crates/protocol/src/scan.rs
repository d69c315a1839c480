//! A JSON scanner that says what is wrong, and where.
//!
//! It checks one value in one pass and names the members of a top-level object as slices of the text, for whoever reads
//! events: the native API, where a client needs to hear which field is wrong, and the seed's, which answers in the words of
//! Python's parser. The order of its checks is that parser's order.
//! The rule: nesting costs one bit a level, never stack, and nothing else costs memory at all.

use std::fmt;

/// One member of the top-level object; both are JSON text, the key with its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: &'a str,
}

/// What a JSON value is, told by its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Integer,
    Float,
    String,
    Array,
    Object,
}

impl Kind {
    /// The kind of a value that has been scanned.
    pub(crate) fn of(json: &str) -> Self {
        match json.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't' | b'f') => Self::Bool,
            Some(b'"') => Self::String,
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            _ if json.contains(['.', 'e', 'E']) => Self::Float,
            _ => Self::Integer,
        }
    }

    /// The kind with its article, for messages.
    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "a boolean",
            Self::Integer | Self::Float => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    PropertyName,
    Colon,
    Comma,
    Value,
    /// The error stands at the opening quote.
    UnterminatedString,
    ControlCharacter,
    Escape,
    UnicodeEscape,
    ExtraData,
    /// `NaN`, `Infinity` or `-Infinity`.
    Constant(&'static str),
}

/// Something that is not JSON, at this byte of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScanError {
    pub(crate) at: usize,
    pub(crate) what: What,
}

/// What is wrong in plain words, without the place.
impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::PropertyName => f.write_str("expected a property name in double quotes"),
            What::Colon => f.write_str("expected a colon"),
            What::Comma => f.write_str("expected a comma or the closing bracket"),
            What::Value => f.write_str("expected a value"),
            What::UnterminatedString => f.write_str("the string that starts here has no end"),
            What::ControlCharacter => f.write_str("a control character in a string must be escaped"),
            What::Escape => f.write_str("no such escape"),
            What::UnicodeEscape => f.write_str("\\u needs four hexadecimal digits"),
            What::ExtraData => f.write_str("there is more after the value"),
            What::Constant(name) => write!(f, "{name} is not JSON: send null or a string"),
        }
    }
}

/// The index of the first byte at or after `at` that is not JSON whitespace.
pub(crate) fn skip_whitespace(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Scans the whole text as one value with whitespace around it; returns the value without that whitespace.
///
/// # Errors
/// The first thing that is not JSON, or anything after the value.
pub(crate) fn document<'a>(text: &'a str, on_member: impl FnMut(Member<'a>)) -> Result<&'a str, ScanError> {
    let start = skip_whitespace(text.as_bytes(), 0);
    let end = value(text, start, on_member)?;
    let after = skip_whitespace(text.as_bytes(), end);
    if after < text.len() {
        return Err(ScanError { at: after, what: What::ExtraData });
    }
    Ok(&text[start..end])
}

/// Scans the value that starts at byte `start`; returns its end. If it is an object, calls `on_member` for
/// each of its members in turn (also for those before an error).
///
/// # Errors
/// The first thing that is not JSON.
pub(crate) fn value<'a>(
    text: &'a str,
    start: usize,
    mut on_member: impl FnMut(Member<'a>),
) -> Result<usize, ScanError> {
    let bytes = text.as_bytes();
    let mut nesting = Nesting::default();
    // The key of the member of the top-level object that is being read, and where its value starts.
    let (mut key, mut member_start) = ("", 0);
    let mut at = start;
    loop {
        let opened = match bytes.get(at) {
            Some(b'{') => Some((true, b'}')),
            Some(b'[') => Some((false, b']')),
            _ => None,
        };
        if let Some((is_object, close)) = opened {
            at = skip_whitespace(bytes, at + 1);
            if bytes.get(at) != Some(&close) {
                nesting.push(is_object);
                if is_object {
                    let (key_end, value_start) = name(bytes, at)?;
                    if nesting.depth == 1 {
                        (key, member_start) = (&text[at..key_end], value_start);
                    }
                    at = value_start;
                }
                continue;
            }
            at += 1;
        } else {
            at = scalar(bytes, at)?;
        }
        // A value ends here: close what it closes, up to the next comma.
        loop {
            let Some(in_object) = nesting.top() else { return Ok(at) };
            if in_object && nesting.depth == 1 {
                on_member(Member { key, value: &text[member_start..at] });
            }
            at = skip_whitespace(bytes, at);
            match (bytes.get(at), in_object) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    nesting.pop();
                    at += 1;
                }
                (Some(b','), _) => break,
                _ => return Err(ScanError { at, what: What::Comma }),
            }
        }
        at = skip_whitespace(bytes, at + 1);
        if nesting.top() == Some(true) {
            let (key_end, value_start) = name(bytes, at)?;
            if nesting.depth == 1 {
                (key, member_start) = (&text[at..key_end], value_start);
            }
            at = value_start;
        }
    }
}

/// A property name and its colon: the end of the name and the start of the value.
fn name(bytes: &[u8], at: usize) -> Result<(usize, usize), ScanError> {
    if bytes.get(at) != Some(&b'"') {
        return Err(ScanError { at, what: What::PropertyName });
    }
    let end = string(bytes, at)?;
    let colon = skip_whitespace(bytes, end);
    if bytes.get(colon) != Some(&b':') {
        return Err(ScanError { at: colon, what: What::Colon });
    }
    Ok((end, skip_whitespace(bytes, colon + 1)))
}

fn scalar(bytes: &[u8], at: usize) -> Result<usize, ScanError> {
    let rest = bytes.get(at..).unwrap_or_default();
    let literal = |literal: &str| rest.starts_with(literal.as_bytes()).then_some(at + literal.len());
    let found = match rest.first() {
        Some(b'"') => return string(bytes, at),
        Some(b'n') => literal("null"),
        Some(b't') => literal("true"),
        Some(b'f') => literal("false"),
        Some(b'-' | b'0'..=b'9') => number(rest).map(|length| at + length),
        _ => None,
    };
    let constant = || ["NaN", "Infinity", "-Infinity"].into_iter().find(|constant| literal(constant).is_some());
    found.ok_or_else(|| ScanError { at, what: constant().map_or(What::Value, What::Constant) })
}

/// The length of the longest number that the bytes start with.
fn number(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = bytes.get(from..).unwrap_or_default();
        rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at += match bytes.get(at) {
        Some(b'0') => 1,
        Some(b'1'..=b'9') => digits(at),
        _ => return None,
    };
    if bytes.get(at) == Some(&b'.') && digits(at + 1) > 0 {
        at += 1 + digits(at + 1);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent > 0 {
            at += 1 + sign + exponent;
        }
    }
    Some(at)
}

/// The end of the string that opens at `open`.
fn string(bytes: &[u8], open: usize) -> Result<usize, ScanError> {
    let mut at = open + 1;
    loop {
        at = plain_end(bytes, at);
        match bytes.get(at) {
            None => return Err(ScanError { at: open, what: What::UnterminatedString }),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at = escape(bytes, open, at)?,
            Some(_) => return Err(ScanError { at, what: What::ControlCharacter }),
        }
    }
}

/// The first place at or after `at` of a quote, a backslash or a control character, or the end.
///
/// Eight bytes at a time: of a word, subtracting one from each byte borrows from the highest bit of the first that was
/// zero (<https://graphics.stanford.edu/~seander/bithacks.html#ZeroInWord>); bits above the first found may be wrong.
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const EACH: u64 = u64::MAX / 255;
    const HIGHEST: u64 = EACH << 7;
    let rest = loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(word) = rest.first_chunk().map(|word| u64::from_le_bytes(*word)) else { break rest };
        let below = |word: u64, limit: u8| word.wrapping_sub(EACH * u64::from(limit)) & !word;
        let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
        let found = (below(word, b' ') | is(b'"') | is(b'\\')) & HIGHEST;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    };
    let is_special = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    at + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// The end of the escape whose backslash stands at `at`.
fn escape(bytes: &[u8], open: usize, at: usize) -> Result<usize, ScanError> {
    match bytes.get(at + 1) {
        None => Err(ScanError { at: open, what: What::UnterminatedString }),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => {
            let is_hex = bytes.get(at + 2..at + 6).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
            // Python's parser wants one more character here: at the very end this is the error, not the missing quote.
            if is_hex && bytes.len() > at + 6 {
                Ok(at + 6)
            } else {
                Err(ScanError { at: at + 1, what: What::UnicodeEscape })
            }
        }
        Some(_) => Err(ScanError { at, what: What::Escape }),
    }
}

/// Which containers are open, outermost first: one bit each, set for an object.
#[derive(Default)]
struct Nesting {
    /// The outermost 64, which is all of nearly every text.
    first: u64,
    rest: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, is_object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word > self.rest.len() {
            self.rest.push(0);
        }
        let word = if word == 0 { &mut self.first } else { &mut self.rest[word - 1] };
        *word = *word & !(1 << bit) | u64::from(is_object) << bit;
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn top(&self) -> Option<bool> {
        let last = self.depth.checked_sub(1)?;
        let word = if last < 64 { self.first } else { self.rest[last / 64 - 1] };
        Some(word >> (last % 64) & 1 == 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn members_are_listed_as_they_stand() {
        let mut members = Vec::new();
        let text = r#" { "a" : [1, {"x": 2}] ,"b\n":"c" , "a":{} } "#;
        assert_eq!(document(text, |member| members.push(member)), Ok(text.trim()));
        let listed: Vec<_> = members.iter().map(|member| (member.key, member.value)).collect();
        assert_eq!(listed, [("\"a\"", r#"[1, {"x": 2}]"#), (r#""b\n""#, "\"c\""), ("\"a\"", "{}")]);
    }

    #[test]
    fn ten_million_levels_cost_no_stack() {
        let open = "[".repeat(10_000_000);
        assert_eq!(value(&open, 0, drop), Err(ScanError { at: open.len(), what: What::Value }));
        let closed = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(value(&closed, 0, drop), Ok(closed.len()));
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\ue0-1.+\-antrulsf \nxé]{0,24}"#) {
            let ours = document(&text, drop);
            let theirs = serde_json::from_str::<&RawValue>(&text);
            prop_assert_eq!(ours.ok(), theirs.ok().map(RawValue::get));
        }

        #[test]
        fn strings_of_any_length_agree_with_serde_json(
            before in r#"[a-zé\x7f-\xff]{0,40}"#,
            special in prop_oneof![Just("".to_owned()), r#"["\\\x00-\x1f]"#, Just("\\n".to_owned())],
            after in "[a-z]{0,20}",
        ) {
            for text in [format!("\"{before}{special}{after}\""), format!("\"{before}{special}{after}")] {
                let theirs = serde_json::from_str::<&RawValue>(&text);
                prop_assert_eq!(document(&text, drop).ok(), theirs.ok().map(RawValue::get));
            }
        }

        #[test]
        fn mixed_nesting_is_told_apart(shape in proptest::collection::vec(any::<bool>(), 1..200)) {
            let open: String = shape.iter().map(|object| if *object { "{\"k\":" } else { "[" }).collect();
            let close: String = shape.iter().rev().map(|object| if *object { '}' } else { ']' }).collect();
            let text = format!("{open}0{close}");
            prop_assert_eq!(value(&text, 0, drop), Ok(text.len()));
        }
    }
}
