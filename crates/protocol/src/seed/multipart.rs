//! `multipart/form-data` (RFC 7578), as far as an event needs it: named texts; files are noticed and skipped.

use memchr::memmem;

use super::answer::SeedError;
use super::body::Value;
use super::header::parameter;
use crate::python_json::Charset;

/// Calls `on_value` with each named value of a body, in order.
///
/// # Errors
/// 400 for a boundary that is absent, empty, too long or not ASCII.
pub(super) fn read<'a>(
    body: &'a [u8],
    boundary: Option<&str>,
    charset: Charset,
    mut on_value: impl FnMut(&str, Value<'a>),
) -> Result<(), SeedError> {
    let Some(boundary) = boundary.filter(|boundary| is_boundary(boundary)) else {
        let shown = boundary.unwrap_or("None");
        let message = format!("Multipart form parse error - Invalid boundary in multipart: {shown}");
        return Err(SeedError::detail(400, &message));
    };
    let delimiter = format!("--{boundary}");
    let finder = memmem::Finder::new(&delimiter);
    let mut starts = finder.find_iter(body).filter(|at| *at == 0 || body[at - 1] == b'\n');
    let mut start = starts.next();
    while let Some(at) = start {
        start = starts.next();
        let part = &body[at + delimiter.len()..start.unwrap_or(body.len())];
        if let Some((name, value)) = read_part(part, charset) {
            on_value(&name, value);
        }
    }
    Ok(())
}

/// Longer than RFC 2046 allows, as the framework takes it.
fn is_boundary(boundary: &str) -> bool {
    (1..=201).contains(&boundary.len()) && boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// One part: what stands between two delimiters. `None` for the end mark and for what has no name.
fn read_part(part: &[u8], charset: Charset) -> Option<(String, Value<'_>)> {
    let part = part.strip_prefix(b"\r\n").or_else(|| part.strip_prefix(b"\n"))?;
    let (headers, content) = match memmem::find(part, b"\r\n\r\n") {
        Some(at) => (&part[..at], &part[at + 4..]),
        None => memmem::find(part, b"\n\n").map(|at| (&part[..at], &part[at + 2..]))?,
    };
    let content = content.strip_suffix(b"\n").map_or(content, |content| content.strip_suffix(b"\r").unwrap_or(content));
    let headers = String::from_utf8_lossy(headers);
    let disposition = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    })?;
    let name = parameter(disposition, "name")?;
    let value = match parameter(disposition, "filename") {
        Some(filename) if !filename.is_empty() => Value::File,
        _ => Value::Form(charset.decode_lossy(content)),
    };
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn parts_are_read_by_name_and_files_are_noticed() {
        let body = b"preamble\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\ntwo\r\n--b\r\n\
            content-disposition: form-data; name=\"f\"; filename=\"x.txt\"\r\n\r\n..\r\n--b--\r\n";
        let mut values = Vec::new();
        read(body, Some("b"), Charset::Utf8, |name, value| values.push((name.to_owned(), value))).unwrap();
        assert_eq!(values, [("a".to_owned(), Value::Form(Cow::Borrowed("one\r\ntwo"))), ("f".to_owned(), Value::File)]);
    }

    #[test]
    fn a_missing_boundary_is_named() {
        let error = read(b"x", None, Charset::Utf8, |_, _| {}).unwrap_err();
        assert_eq!(error.body, r#"{"detail":"Multipart form parse error - Invalid boundary in multipart: None"}"#);
    }
}
