//! Reads a trace: the calls of its threads, in one piece or in two.
//!
//! The rule: a call that did not return is none.

use std::collections::HashMap;

/// One call: where in the trace it began and returned, and what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The thread that made it.
    pub thread: String,
    /// Its name.
    pub name: String,
    /// What stands between the parentheses.
    pub arguments: String,
    /// What it returned.
    pub result: String,
    /// The line at which it began.
    pub begin: usize,
    /// The line at which it returned.
    pub end: usize,
}

/// Reads the calls that returned, in the order in which they began.
#[must_use]
pub fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut open: HashMap<&str, (usize, &str, &str)> = HashMap::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, rest)) = text.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            if let Some((name, arguments)) = begun.split_once('(') {
                open.insert(thread, (line, name, arguments));
            }
            continue;
        }
        let (begin, name, arguments, tail) = if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((begin, name, arguments)) = open.remove(thread) else { continue };
            let Some((_, tail)) = resumed.split_once(" resumed>") else { continue };
            (begin, name, arguments, tail)
        } else {
            let Some((name, tail)) = rest.split_once('(') else { continue };
            (line, name, "", tail)
        };
        let Some(at) = arguments_end(tail) else { continue };
        let result = tail[at..].trim_start_matches(')').trim_start().trim_start_matches("= ").to_owned();
        let arguments = format!("{arguments}{}", &tail[..at]);
        let (thread, name) = (thread.to_owned(), name.to_owned());
        calls.push(Call { thread, name, arguments, result, begin, end: line });
    }
    calls.sort_by_key(|call| call.begin);
    calls
}

/// Where the arguments end: short calls are padded, and words about an error stand in parentheses too.
fn arguments_end(call: &str) -> Option<usize> {
    let mut ends = call.rmatch_indices(')').map(|(at, _)| at);
    let last = ends.clone().next();
    ends.find(|at| call[at + 1..].trim_start().starts_with("= ")).or(last)
}

impl Call {
    /// True if it has one of these names.
    #[must_use]
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// True if it was made to fail.
    #[must_use]
    pub fn is_injected(&self) -> bool {
        self.result.contains("(INJECTED)")
    }

    /// True if it did what it was asked.
    pub(super) fn is_done(&self) -> bool {
        !self.result.starts_with('-') && !self.result.starts_with('?')
    }

    /// The path of the file that its first argument stands for.
    #[must_use]
    pub fn file(&self) -> &str {
        let digits = self.arguments.trim_start_matches(|char: char| char.is_ascii_digit());
        digits.strip_prefix('<').and_then(|rest| rest.split('>').next()).unwrap_or_default()
    }

    /// True if it gives a file that is there another name.
    pub(super) fn takes_name(&self) -> bool {
        self.is(&["link", "linkat", "rename", "renameat", "renameat2"])
    }

    /// True if it opens a file and makes it if it is not there.
    pub(super) fn creates(&self) -> bool {
        self.name == "openat" && self.arguments.contains("O_CREAT")
    }

    pub(super) fn is_sync_of(&self, path: &str) -> bool {
        self.is(&["fsync", "fdatasync"]) && self.result == "0" && self.file() == path
    }

    /// Everything in quotes, as bytes.
    pub(super) fn texts(&self) -> Vec<Vec<u8>> {
        let mut texts = Vec::new();
        let mut bytes = self.arguments.bytes();
        while let Some(byte) = bytes.next() {
            if byte == b'"' {
                texts.push(unquote(&mut bytes));
            }
        }
        texts
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.texts().concat()).into_owned()
    }

    pub(super) fn paths(&self) -> Vec<String> {
        self.texts().iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }
}

/// The bytes of a C string up to its closing quote.
fn unquote(bytes: &mut std::str::Bytes<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    let mut held = None;
    while let Some(byte) = held.take().or_else(|| bytes.next()) {
        match byte {
            b'"' => break,
            b'\\' => match bytes.next() {
                Some(b'n') => text.push(b'\n'),
                Some(b'r') => text.push(b'\r'),
                Some(b't') => text.push(b'\t'),
                Some(b'v') => text.push(0x0b),
                Some(b'f') => text.push(0x0c),
                Some(digit @ b'0'..=b'7') => {
                    let mut value = u32::from(digit - b'0');
                    for _ in 0..2 {
                        match bytes.next() {
                            Some(digit @ b'0'..=b'7') => value = value * 8 + u32::from(digit - b'0'),
                            other => {
                                held = other;
                                break;
                            }
                        }
                    }
                    text.push(value as u8);
                }
                Some(other) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: &str = r#"11 pwrite64(9</d/data/1.seg>, "\1{\"id\":\"a\",\"n\":1}", 17, 64) = 17
11 fdatasync(9</d/data/1.seg> <unfinished ...>
12 epoll_wait(3</x>, [], 1) = 0
11 <... fdatasync resumed>) = 0
"#;

    #[test]
    fn calls_are_read_whole_or_in_two_halves() {
        let calls = parse(SYNC);
        let sync = calls.iter().find(|call| call.name == "fdatasync").unwrap();
        assert_eq!((sync.begin, sync.end, sync.result.as_str(), sync.file()), (1, 3, "0", "/d/data/1.seg"));
        let write = calls.iter().find(|call| call.name == "pwrite64").unwrap();
        assert_eq!(write.text(), "\u{1}{\"id\":\"a\",\"n\":1}");
        let failed = parse("10 fsync(5</d>)     = -1 EIO (Input/output error) (INJECTED)");
        let [failed] = &failed[..] else { panic!("{failed:?}") };
        assert_eq!((failed.file(), failed.is_done(), failed.is_injected()), ("/d", false, true));
        assert_eq!(unquote(&mut "\\377\\0a\\\"b\" rest".bytes()), b"\xff\0a\"b");
    }
}
