//! What drivers and tools say that is no question, and how it is answered.
//!
//! Drivers open transactions and set their names: both change nothing here. What would change an answer (a time zone, a
//! time limit) is refused, not passed over.

/// An answer to words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// A transaction begins.
    Begin,
    /// A transaction ends, with this tag.
    End(&'static str),
    /// Done, with this tag.
    Done(&'static str),
    /// One row with one text.
    Value(&'static str, &'static str),
    /// Another statement stands for it.
    Instead(&'static str),
}

/// Settings that change no answer.
const HARMLESS: [&str; 5] =
    ["application_name", "client_encoding", "extra_float_digits", "client_min_messages", "search_path"];

/// What `psql` asks for `\d` and `\dt`, in its own columns.
const LIST: &str = "SELECT 'public' AS \"Schema\", column1 AS \"Name\", 'table' AS \"Type\", 'eye' AS \"Owner\" \
                    FROM (VALUES ('events'), ('problems'), ('rejections'), ('sessions'))";

/// The answer to a statement, if it is one of these.
pub(super) fn read(sql: &str) -> Option<Word> {
    let text = sql.trim().trim_end_matches(';').trim().to_lowercase();
    let words: Vec<&str> =
        text.split(|char: char| char.is_whitespace() || char == '=').filter(|word| !word.is_empty()).collect();
    match words.as_slice() {
        ["begin", ..] | ["start", "transaction", ..] => Some(Word::Begin),
        ["commit", ..] | ["end", ..] => Some(Word::End("COMMIT")),
        ["rollback", ..] | ["abort", ..] => Some(Word::End("ROLLBACK")),
        ["discard", "all"] => Some(Word::Done("DISCARD ALL")),
        ["deallocate", ..] => Some(Word::Done("DEALLOCATE")),
        ["set", "session", "characteristics", ..] | ["set", "transaction", ..] => Some(Word::Done("SET")),
        ["set", "session" | "local", name, ..] | ["set", name, ..] => {
            is_harmless(name, &words).then_some(Word::Done("SET"))
        }
        ["show", "transaction", "isolation", "level"] | ["show", "transaction_isolation"] => {
            Some(Word::Value("transaction_isolation", "serializable"))
        }
        ["show", "server_version"] => Some(Word::Value("server_version", super::session::VERSION)),
        ["show", "standard_conforming_strings"] => Some(Word::Value("standard_conforming_strings", "on")),
        ["show", "timezone"] | ["show", "time", "zone"] => Some(Word::Value("TimeZone", "UTC")),
        ["show", "search_path"] => Some(Word::Value("search_path", "public")),
        _ if is_list(&text) => Some(Word::Instead(LIST)),
        _ => None,
    }
}

fn is_harmless(name: &str, words: &[&str]) -> bool {
    let is_last = |value: &str| words.last().is_some_and(|last| last.trim_matches(['\'', '"']) == value);
    match name {
        "timezone" | "time" => is_last("utc"),
        "datestyle" => is_last("iso") || words.iter().any(|word| word.trim_matches(['\'', '"', ',']) == "iso"),
        "default_transaction_read_only" | "transaction_read_only" => is_last("on"),
        name => HARMLESS.contains(&name),
    }
}

/// `\d` without a name: every relation of these kinds, by name.
fn is_list(text: &str) -> bool {
    text.contains("from pg_catalog.pg_class c")
        && text.contains("c.relkind in (")
        && text.contains("as \"owner\"")
        && !text.contains("c.relname operator(pg_catalog.~)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drivers_say_is_answered_and_what_would_change_an_answer_is_not() {
        for (sql, word) in [
            ("BEGIN", Some(Word::Begin)),
            ("begin read only;", Some(Word::Begin)),
            ("START TRANSACTION", Some(Word::Begin)),
            ("COMMIT;", Some(Word::End("COMMIT"))),
            ("ROLLBACK", Some(Word::End("ROLLBACK"))),
            ("SET application_name = 'x'", Some(Word::Done("SET"))),
            ("SET extra_float_digits = 3", Some(Word::Done("SET"))),
            ("SET TimeZone TO 'UTC'", Some(Word::Done("SET"))),
            ("SET TimeZone='UTC'", Some(Word::Done("SET"))),
            ("SET TIME ZONE 'Europe/Berlin'", None),
            ("SET statement_timeout = 5", None),
            ("SET datafusion.execution.batch_size = 1", None),
            ("SHOW TABLES", None),
            ("SELECT 'begin'", None),
        ] {
            assert_eq!(read(sql), word, "{sql}");
        }
    }
}
