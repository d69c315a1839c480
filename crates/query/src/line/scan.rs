//! The pieces of a query line: words, quoted texts, paths.

/// Why a piece could not be read: what is wrong, at which place of what was given.
pub(crate) struct Wrong {
    /// Bytes left of the text when it was met.
    pub(crate) left: usize,
    pub(crate) message: String,
}

impl Wrong {
    pub(crate) fn at(rest: &str, message: impl Into<String>) -> Self {
        Self { left: rest.len(), message: message.into() }
    }
}

/// True for a character of a word: a field's name or a key without quotes.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$' | '-' | '/' | '@' | '#')
}

/// Takes the longest word; it may be empty. A word of a field's name has no minus sign in front: that is a "not".
pub(crate) fn word<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word
}

/// Takes `.key.key…`, each key a word or a quoted text.
pub(crate) fn path(rest: &mut &str) -> Result<Vec<String>, Wrong> {
    let mut keys = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        let key = if rest.starts_with('"') { quoted(rest)? } else { word(rest).to_owned() };
        if key.is_empty() {
            return Err(Wrong::at(rest, "a key is missing behind the dot: write one, in quotes if it is unusual"));
        }
        keys.push(key);
    }
    Ok(keys)
}

/// Takes a text in double quotes, in which `\"` and `\\` stand for the two characters.
pub(crate) fn quoted(rest: &mut &str) -> Result<String, Wrong> {
    let begin = *rest;
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &rest[at + 1..];
                return Ok(text);
            }
            '\\' => match characters.next() {
                Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                _ => {
                    return Err(Wrong::at(&begin[at..], "behind a backslash in quotes stands a quote or a backslash"));
                }
            },
            other => text.push(other),
        }
    }
    Err(Wrong::at(begin, "the quote is not closed: write another \" behind the text"))
}

/// True for a character that may stand in a value without quotes.
pub(crate) fn is_bare(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !matches!(character, '"' | ',' | '(' | ')' | '\\')
}

/// Takes a value without quotes; it may be empty.
pub(crate) fn bare<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|character| !is_bare(character)).unwrap_or(rest.len());
    let (value, after) = rest.split_at(end);
    *rest = after;
    value
}
