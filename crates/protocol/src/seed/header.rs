//! The two headers that decide before a body is read.

use super::answer::{AuthFailure, SeedError, not_authenticated};

/// The token of `Authorization: Token <token>`: keyword in any case, any white space between.
///
/// # Errors
/// 401 in the framework's words. Whether the token is anybody's is not decided here.
pub fn authorization(header: Option<&[u8]>) -> Result<&str, SeedError> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    let mut words = header.unwrap_or_default().split(is_space).filter(|word| !word.is_empty());
    if !words.next().is_some_and(|keyword| keyword.eq_ignore_ascii_case(b"token")) {
        return Err(not_authenticated(AuthFailure::NotProvided));
    }
    let Some(token) = words.next() else { return Err(not_authenticated(AuthFailure::NoCredentials)) };
    if words.next().is_some() {
        return Err(not_authenticated(AuthFailure::Spaces));
    }
    std::str::from_utf8(token).map_err(|_| not_authenticated(AuthFailure::InvalidCharacters))
}

/// True if the `Accept` header lets the framework answer: it asks for JSON, HTML or a wildcard of them, or is absent.
/// Quality values are not looked at, not even `q=0`: the framework does not either.
#[must_use]
pub fn accepts(accept: Option<&str>) -> bool {
    let Some(accept) = accept else { return true };
    accept.split(',').any(|range| {
        let (main, sub) = media_type(range);
        [("application", "json"), ("text", "html")]
            .into_iter()
            .any(|(our_main, our_sub)| matches_part(&main, our_main) && matches_part(&sub, our_sub))
    })
}

/// True if a part of a media type is this one, or a wildcard.
pub(super) fn matches_part(part: &str, ours: &str) -> bool {
    part == "*" || part == ours
}

/// The two parts of a media type in lower case, parameters dropped; the second is empty if there is no slash.
pub(super) fn media_type(header: &str) -> (String, String) {
    let name = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (main, sub) = name.split_once('/').unwrap_or((&name, ""));
    (main.to_owned(), sub.to_owned())
}

/// The parameter `name` of a header such as `Content-Type`, its quotes removed.
pub(super) fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (parameter, after) = split_parameter(rest);
        if let Some((key, value)) = parameter.split_once('=')
            && key.trim().eq_ignore_ascii_case(name)
        {
            return Some(unquote(value.trim()));
        }
        rest = after?;
    }
}

/// One parameter and what follows its semicolon; semicolons in quotes do not count.
fn split_parameter(text: &str) -> (&str, Option<&str>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

fn unquote(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\\", "\\").replace("\\\"", "\""),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_inside_and_outside_quotes() {
        assert_eq!(parameter("a/b; charset=UTF-8", "charset").as_deref(), Some("UTF-8"));
        assert_eq!(parameter("form-data; name=\"a;\\\"b\" ; filename=x", "name").as_deref(), Some("a;\"b"));
        assert_eq!(parameter("form-data; name=\"a;filename=b\"", "filename"), None);
        assert_eq!(parameter("a/b", "charset"), None);
    }

    #[test]
    fn accept_is_judged_by_its_media_types_alone() {
        for accepted in
            ["*/*", "application/*", "application/json;q=0", "image/png, text/html;q=0.1", "APPLICATION/JSON"]
        {
            assert!(accepts(Some(accepted)), "{accepted}");
        }
        for refused in ["application/xml", "image/*", "", "json"] {
            assert!(!accepts(Some(refused)), "{refused}");
        }
        assert!(accepts(None));
    }
}
