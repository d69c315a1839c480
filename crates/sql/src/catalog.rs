//! `pg_catalog` and `information_schema`: what clients of PostgreSQL ask before they ask for rows.
//!
//! They describe our own tables and nothing else: nothing of the engine, its settings, the machine, or anybody's rows.
//! The tables are made for a statement that names them, out of texts (`tables`); the statement is written anew where
//! it says what the engine cannot plan (`rewrite`), before the guard looks at it.
//!
//! | file | what it holds |
//! |---|---|
//! | `tables.txt`, `types.txt` | the tables with their columns and the rows that are always there; the types |
//! | `tables` | the rows of our tables and columns, and all of it as batches |
//! | `functions` | functions that look something up by an oid or a name |
//! | `rewrite` | a statement of PostgreSQL in words that can be planned |
//! | `answers`, `exprs` | what stands for functions with one answer, for casts and operators; expressions to make it of |

mod answers;
mod exprs;
pub(crate) mod functions;
mod rewrite;
pub(crate) mod tables;

pub(crate) use rewrite::rewrite;

/// What clients take for the server's version: they look at the number only.
pub const SERVER_VERSION: &str = "16.0 (The Eye)";
/// The one role.
pub(crate) const ROLE: &str = "eye";

/// What `SHOW`, `current_setting` and `pg_settings` say.
pub(crate) const SETTINGS: [(&str, &str); 29] = [
    ("application_name", ""),
    ("block_size", "8192"),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("DateStyle", "ISO, MDY"),
    ("default_table_access_method", "heap"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "on"),
    ("extra_float_digits", "1"),
    ("in_hot_standby", "off"),
    ("integer_datetimes", "on"),
    ("IntervalStyle", "postgres"),
    ("is_superuser", "off"),
    ("lc_collate", "C"),
    ("lc_ctype", "C"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("role", "none"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", SERVER_VERSION),
    ("server_version_num", "160000"),
    ("session_authorization", ROLE),
    ("ssl", "off"),
    ("standard_conforming_strings", "on"),
    ("TimeZone", "UTC"),
    ("transaction_isolation", "read committed"),
    ("transaction_read_only", "on"),
];

/// Settings that change no answer, so that they can be taken for set.
const HARMLESS: [&str; 7] = [
    "application_name",
    "client_encoding",
    "client_min_messages",
    "extra_float_digits",
    "jit",
    "row_security",
    "search_path",
];

/// A setting by its name, with its name as PostgreSQL writes it.
pub(crate) fn setting(name: &str) -> Option<(&'static str, &'static str)> {
    SETTINGS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name))
}

/// True for a setting that changes no answer, whatever it is set to.
#[must_use]
pub fn is_harmless(setting: &str) -> bool {
    HARMLESS.contains(&setting)
}
