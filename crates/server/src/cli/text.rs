//! Text that is safe on a terminal, and short ways to write numbers and times for people.
//!
//! Events are written by strangers. Nothing of theirs may move the cursor, colour the screen or turn the direction of
//! the text: control characters and invisible direction marks are shown as `\u{…}`.

use std::borrow::Cow;
use std::fmt::Write as _;

const MICROS_PER_MILLI: i64 = 1_000;
const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// True for a character that a terminal would act on, or that hides what it does.
fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with everything a terminal would act on written out: `\n`, `\t`, `\r`, `\u{1b}`.
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            hostile if is_hostile(hostile) => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(hostile));
            }
            plain => shown.push(plain),
        }
    }
    Cow::Owned(shown)
}

/// The same for JSON text: hostile characters become `\uXXXX`, so that it stays the same JSON. Line ends stay.
pub(crate) fn safe_json(json: &str) -> Cow<'_, str> {
    let is_hostile = |character: char| !matches!(character, '\n' | '\r' | '\t') && is_hostile(character);
    if !json.chars().any(is_hostile) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if is_hostile(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// The text cut to `chars_max` characters, with `…` where it was cut.
pub(crate) fn cut(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        None => Cow::Borrowed(text),
        Some((at, _)) => Cow::Owned(format!("{}…", &text[..at])),
    }
}

/// `9999` as `9,999`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A span of time in its two largest units: `12 min`, `3 h 20 min`, `5 d 2 h`, `40 s`, `850 ms`.
pub(crate) fn span(micros: i64) -> String {
    let micros = micros.max(0);
    let two = |large: i64, large_name: &str, small: i64, small_name: &str| {
        let (whole, rest) = (micros / large, micros % large / small);
        if rest == 0 { format!("{whole} {large_name}") } else { format!("{whole} {large_name} {rest} {small_name}") }
    };
    match micros {
        ..MICROS_PER_MILLI => format!("{micros} µs"),
        MICROS_PER_MILLI..MICROS_PER_SECOND => format!("{} ms", micros / MICROS_PER_MILLI),
        MICROS_PER_SECOND..MICROS_PER_MINUTE => format!("{} s", micros / MICROS_PER_SECOND),
        MICROS_PER_MINUTE..MICROS_PER_HOUR => two(MICROS_PER_MINUTE, "min", MICROS_PER_SECOND, "s"),
        MICROS_PER_HOUR..MICROS_PER_DAY => two(MICROS_PER_HOUR, "h", MICROS_PER_MINUTE, "min"),
        _ => two(MICROS_PER_DAY, "d", MICROS_PER_HOUR, "h"),
    }
}

/// `5 events`, `1 event`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", thousands(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_acts_on_is_left() {
        let hostile = "a\u{1b}[31mred\u{9b}2J\u{202e}evil\u{2066}\u{200f}\0\u{7f}\r\n\u{e0041}";
        let shown = safe(hostile);
        assert!(!shown.chars().any(is_hostile), "{shown}");
        assert!(shown.starts_with("a\\u{1b}[31mred\\u{9b}2J\\u{202e}evil"), "{shown}");
        assert!(matches!(safe("Grüße, 世界 👍"), Cow::Borrowed(_)));
    }

    #[test]
    fn safe_json_is_the_same_json() {
        let json = "{\"a\":\"x\u{202e}\u{9b}\u{7f}\u{e0041}y\",\n\"b\":1}";
        let shown = safe_json(json);
        assert!(shown.is_ascii(), "{shown}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&shown), read(json));
    }

    #[test]
    fn spans_and_numbers_are_short() {
        for (micros, shown) in [
            (0, "0 µs"),
            (-5, "0 µs"),
            (850_000, "850 ms"),
            (40 * MICROS_PER_SECOND, "40 s"),
            (12 * MICROS_PER_MINUTE, "12 min"),
            (200 * MICROS_PER_MINUTE, "3 h 20 min"),
            (5 * MICROS_PER_DAY + 2 * MICROS_PER_HOUR, "5 d 2 h"),
        ] {
            assert_eq!(span(micros), shown);
        }
        assert_eq!(
            [thousands(0), thousands(999), thousands(9_999), thousands(1_234_567)],
            ["0", "999", "9,999", "1,234,567"]
        );
        assert_eq!([cut("héllo", 2), cut("hé", 2)], ["hé…", "hé"]);
    }
}
