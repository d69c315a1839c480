//! What drivers and tools say that is no question, and how it is answered.
//!
//! Drivers open transactions and set their names: both change nothing here. What would change an answer (a time zone, a
//! time limit) is refused, not passed over.

/// No driver says more than this without asking something.
const TEXT_BYTES_MAX: usize = 32 * 1024;

/// An answer to words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A transaction begins.
    Begin,
    /// A transaction ends, with this tag.
    End(&'static str),
    /// The prepared statement of this name is over, or all of them; with this tag.
    Forget(Option<String>, &'static str),
    /// Done, with this tag.
    Done(&'static str),
}

/// The answer to a statement, if it is one of these, and the only one.
pub(super) fn read(sql: &str) -> Option<Word> {
    if sql.len() > TEXT_BYTES_MAX {
        return None;
    }
    let text = sql.trim().trim_end_matches(';').trim().to_lowercase();
    if text.contains(';') && eye_sql::statements(sql).len() > 1 {
        return None;
    }
    let words: Vec<&str> =
        text.split(|char: char| char.is_whitespace() || char == '=').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["begin", ..] | ["start", "transaction", ..] => Some(Word::Begin),
        ["commit", ..] | ["end", ..] => Some(Word::End("COMMIT")),
        // Transactions inside one mean as little.
        ["savepoint", ..] => Some(Word::Done("SAVEPOINT")),
        ["release", ..] => Some(Word::Done("RELEASE")),
        ["rollback", "to", ..] | ["rollback", _, "to", ..] => Some(Word::Done("ROLLBACK")),
        ["rollback", ..] | ["abort", ..] => Some(Word::End("ROLLBACK")),
        ["discard", "all"] => Some(Word::Forget(None, "DISCARD ALL")),
        ["deallocate", ..] => Some(Word::Forget(forgotten(sql), "DEALLOCATE")),
        ["set", "session", "characteristics", ..] | ["set", "transaction", ..] => Some(Word::Done("SET")),
        ["set", "session" | "local", name, ..] | ["set", name, ..] => {
            is_harmless(name, &words).then_some(Word::Done("SET"))
        }
        _ => None,
    }
}

/// The name in a `DEALLOCATE`; `None` is `ALL`.
fn forgotten(sql: &str) -> Option<String> {
    let text = sql.trim().trim_end_matches(';').trim();
    let (_, name) = first_word(text);
    let name = match first_word(name) {
        (word, name) if word.eq_ignore_ascii_case("prepare") && !name.is_empty() => name,
        _ => name,
    };
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => Some(quoted.replace("\"\"", "\"")),
        None if name.eq_ignore_ascii_case("all") => None,
        None => Some(name.to_lowercase()),
    }
}

/// The first word of a text, and what comes after it.
fn first_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn is_harmless(name: &str, words: &[&str]) -> bool {
    let is_last = |value: &str| words.last().is_some_and(|last| last.trim_matches(['\'', '"']) == value);
    match name {
        "timezone" | "time" => is_last("utc"),
        "datestyle" => is_last("iso") || words.iter().any(|word| word.trim_matches(['\'', '"', ',']) == "iso"),
        "default_transaction_read_only" | "transaction_read_only" => is_last("on"),
        name => eye_sql::catalog::is_harmless(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drivers_say_is_answered_and_what_would_change_an_answer_is_not() {
        let forget = |name: &str| Some(Word::Forget(Some(name.to_owned()), "DEALLOCATE"));
        for (sql, word) in [
            ("BEGIN", Some(Word::Begin)),
            ("begin read only;", Some(Word::Begin)),
            ("START TRANSACTION", Some(Word::Begin)),
            ("COMMIT;", Some(Word::End("COMMIT"))),
            ("ROLLBACK", Some(Word::End("ROLLBACK"))),
            ("SAVEPOINT \"a\"", Some(Word::Done("SAVEPOINT"))),
            ("ROLLBACK TO SAVEPOINT \"a\"", Some(Word::Done("ROLLBACK"))),
            ("ROLLBACK TO \"a\"", Some(Word::Done("ROLLBACK"))),
            ("DISCARD ALL", Some(Word::Forget(None, "DISCARD ALL"))),
            ("DEALLOCATE ALL;", Some(Word::Forget(None, "DEALLOCATE"))),
            ("deallocate prepare all", Some(Word::Forget(None, "DEALLOCATE"))),
            ("DEALLOCATE S_1 ;", forget("s_1")),
            ("DEALLOCATE PREPARE S_1", forget("s_1")),
            ("DEALLOCATE prepare", forget("prepare")),
            ("DEALLOCATE \"S \"\"1\"", forget("S \"1")),
            ("DEALLOCATE \"all\"", forget("all")),
            ("DEALLOCATE a; SELECT 1", None),
            ("SET application_name = 'x'", Some(Word::Done("SET"))),
            ("SET extra_float_digits = 3", Some(Word::Done("SET"))),
            ("SET TimeZone TO 'UTC'", Some(Word::Done("SET"))),
            ("SET TimeZone='UTC'", Some(Word::Done("SET"))),
            ("SET TIME ZONE 'Europe/Berlin'", None),
            ("SET statement_timeout = 5", None),
            ("SET datafusion.execution.batch_size = 1", None),
            ("SHOW TABLES", None),
            ("SELECT 'begin'", None),
            ("SET application_name = 'a;b'", Some(Word::Done("SET"))),
            ("SET application_name = 'x'; SELECT 1", None),
            ("SAVEPOINT a; SELECT 1", None),
            ("RELEASE a; SELECT 1;", None),
            ("ROLLBACK TO a; SELECT 1", None),
            ("BEGIN; SELECT 1", None),
        ] {
            assert_eq!(read(sql), word, "{sql}");
        }
    }
}
