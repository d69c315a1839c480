//! Small questions about JSON text that do not need a parse.

use memchr::{memchr, memchr2, memchr2_iter, memmem};

/// True if the JSON text nests arrays and objects deeper than `depth_max`.
///
/// The common case costs one vectorised pass: text with no more brackets than levels cannot be too deep.
#[must_use]
pub fn is_deeper_than(json: &str, depth_max: usize) -> bool {
    let bytes = json.as_bytes();
    if memchr2_iter(b'{', b'[', bytes).nth(depth_max).is_none() {
        return false;
    }
    let (mut depth, mut at) = (0_usize, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = skip_string(bytes, at),
            b'{' | b'[' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

/// The index of the closing quote of the string that opens at `at` (or the end of the text).
fn skip_string(bytes: &[u8], mut at: usize) -> usize {
    at += 1;
    while let Some(found) = memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len()
}

/// True if the JSON text escapes a NUL or half of a surrogate pair: legal JSON that many systems cannot hold.
#[must_use]
pub fn has_hostile_escape(json: &str) -> bool {
    if memchr(b'\\', json.as_bytes()).is_none() {
        return false;
    }
    let bytes = json.as_bytes();
    let finder = memmem::Finder::new(b"\\u");
    let mut from = 0;
    while let Some(found) = finder.find(&bytes[from..]) {
        let at = from + found;
        from = at + 2;
        if is_escaped(bytes, at) {
            continue;
        }
        match hex4(bytes, at + 2) {
            Some(0) => return true,
            Some(0xD800..=0xDBFF) => match low_surrogate_at(bytes, at + 6) {
                true => from = at + 12,
                false => return true,
            },
            Some(0xDC00..=0xDFFF) => return true,
            _ => {}
        }
    }
    false
}

/// True if the backslash at `at` is itself escaped (an odd run of backslashes stands before it).
fn is_escaped(bytes: &[u8], at: usize) -> bool {
    bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn low_surrogate_at(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 2) == Some(b"\\u") && matches!(hex4(bytes, at + 2), Some(0xDC00..=0xDFFF))
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, digit| Some(value << 4 | (*digit as char).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(!is_deeper_than(r#"{"a":[1,{"b":"[[[[[{{{{"}]}"#, 3));
        assert!(is_deeper_than(r#"{"a":[1,{"b":1}]}"#, 2));
        assert!(!is_deeper_than(r#"[[],[],[],[]]"#, 2));
        assert!(is_deeper_than(&"[".repeat(65), 64));
        assert!(!is_deeper_than(r#"{"a":"\"[[[[["}"#, 1));
    }

    #[test]
    fn hostile_escapes_are_found_and_pairs_are_not() {
        assert!(has_hostile_escape(r#"{"a":"x\u0000"}"#));
        assert!(has_hostile_escape(r#"{"a":"\ud800"}"#));
        assert!(has_hostile_escape(r#"{"a":"\udc00\ud800"}"#));
        assert!(!has_hostile_escape(r#"{"a":"\ud83d\ude00 \n é"}"#));
        assert!(!has_hostile_escape(r#"{"a":"\\u0000"}"#));
    }
}
