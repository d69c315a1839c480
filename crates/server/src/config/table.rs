//! The one table of settings. Parsing, `eye config`, `--help` and docs/configuration.md are all made from it.
//!
//! A row is: field, kind, default as a person would write it, what it does. The flag is the field with dashes, the
//! environment variable is the field in upper case after `EYE_`, the key in the file is the field itself.

use super::kind::{
    Address, Count, Folder, Kind, LogFormat, OptionalAddress, Options, Retention, Size, SmallCount, Text, Time,
};

/// One setting, described.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The field, and the key in the file.
    pub(crate) name: &'static str,
    /// Under which heading it is documented.
    pub(crate) section: &'static str,
    /// What kind of value it takes.
    pub(crate) kind: &'static str,
    /// The default, as text.
    pub(crate) default: &'static str,
    /// What it does.
    pub(crate) doc: &'static str,
}

impl Setting {
    /// The command line flag, without its dashes in front.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        format!("EYE_{}", self.name.to_ascii_uppercase())
    }
}

macro_rules! settings {
    ($($section:literal { $($name:ident: $kind:ident = $default:literal, $doc:literal;)* })*) => {
        /// The settings in force: plain values.
        #[derive(Clone, Debug)]
        pub(crate) struct Settings {
            $($(#[doc = $doc] pub(crate) $name: <$kind as Kind>::Value,)*)*
        }

        /// Every setting.
        pub(crate) const TABLE: &[Setting] = &[
            $($(Setting {
                name: stringify!($name),
                section: $section,
                kind: <$kind as Kind>::NAME,
                default: $default,
                doc: $doc,
            },)*)*
        ];

        impl Settings {
            /// All defaults.
            ///
            /// # Errors
            /// Never: a test reads every default.
            pub(crate) fn defaults() -> Result<Self, String> {
                Ok(Self { $($($name: <$kind as Kind>::read($default)?,)*)* })
            }

            /// Sets one setting from text.
            ///
            /// # Errors
            /// What to write instead. A name that is not in the table is an error too.
            pub(crate) fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $($(stringify!($name) => self.$name = <$kind as Kind>::read(text)?,)*)*
                    _ => return Err("there is no such setting".to_owned()),
                }
                Ok(())
            }

            /// One setting as text; empty for a name that is not in the table.
            pub(crate) fn show(&self, name: &str) -> String {
                match name {
                    $($(stringify!($name) => <$kind as Kind>::show(&self.$name),)*)*
                    _ => String::new(),
                }
            }
        }
    };
}

settings! {
    "Where things are" {
        data: Folder = "./eye-data", "The data folder: log, registry, lock and, unless `table` says otherwise, the table.";
        listen: Address = "127.0.0.1:7070", "Where the server listens. Port 0 takes a free one.";
        public_url: Text = "", "How people reach the server from outside, for the links that it prints. Empty: the listening address.";
        table: Text = "", "Where the table is: a path, or an `s3://`, `gs://` or `az://` address. Empty: `table` in the data folder.";
        table_option: Options = "", "Options of the object store, such as `aws_endpoint=…`. The usual `AWS_*`, `AZURE_*` and `GOOGLE_*` variables work too. Values are never shown.";
        partitions: SmallCount = "1", "Partitions of the log. Fixed when the data folder is made.";
    }
    "From the log to the table" {
        flush_rows_max: Count = "500000", "Rows in the hot buffer of a partition at which it is flushed to the table.";
        flush_bytes_max: Size = "64MiB", "Bytes in the hot buffer of a partition at which it is flushed.";
        flush_age_max: Time = "60s", "Age of the oldest row in the hot buffer at which it is flushed.";
        hot_bytes_max: Size = "128MiB", "Bytes in the hot buffer above which collecting waits for the flush, then answers 503; requests of at most 64 KiB do so above an eighth more. At most 1536MiB.";
        ingest_wait_max: Time = "5s", "How long collecting waits before it answers 503.";
        dedup_window: Time = "24h", "How long an event id is remembered: within it a repeat is a duplicate, exactly.";
        dedup_ids_max: Count = "50000000", "Event ids remembered at most, for each partition; above it the window shortens, and says so.";
        live_backlog_rows: Count = "10000", "Events kept, for each partition, for live tails that fell behind or come back; fewer if they, and the duplicates that came with them, take more than 16 MiB.";
        log_keep_commits: Count = "10", "Commits of the table whose part of the log is kept as a safety tail.";
        log_segment_bytes_max: Size = "64MiB", "A file of the log that would grow beyond this is followed by a new one; whole files are removed. At least 64KiB.";
        log_room_bytes: Size = "1MiB", "Zeros written ahead of small writes to the log, because a sync that does not make a file longer is quicker. `0B`: none.";
    }
    "The table's files" {
        compaction_period: Time = "10m", "How often small files of the table are merged into larger ones, in the background. 0: never by itself.";
        compaction_files_min: Count = "10", "So many files of a day are merged at least, while the day lasts; when it is over, all that are small.";
        compaction_file_bytes: Size = "32MiB", "Bytes of files that are merged at once, and so the size of a file that is aimed at; larger ones are left alone.";
        compaction_memory_bytes: Size = "256MiB", "Memory for the rows that are merged at once, roughly; at most 1GiB.";
        retention: Retention = "", "How long events are kept: rules such as `web/debug=7d, web/*=90d, */*=400d`: application, category (`*`: any) and whole days after the one on which they were received. The first that fits counts; what none fits is kept for ever.";
        rejection_retention: Time = "0s", "How long rejections are kept: whole days after the one on which they were received. 0: for ever.";
        retention_period: Time = "1h", "How often it is looked for what is too old, in the background. 0: never.";
        vacuum_retention: Time = "7d", "How long files stay after they were replaced, for readers of older versions, and files that never became part of the table. On object storage at least 1h; and longer than any other program that writes the table takes for a commit.";
        slices_bytes_max: Size = "64MiB", "Memory for parts of the table's files that stay decoded because lists asked for them twice, as the newest events are. 0B: nothing stays, and each page of a list decodes its events anew.";
        footers_bytes_max: Size = "64MiB", "Memory for what the files of each of the two tables say of themselves, kept between questions: about half a MiB a million events. What does not fit is read again when it is needed. 0B: always.";
        runs_bytes_max: Size = "128MiB", "Memory for whose rows stand where in the table's files, kept between questions about sessions and users: about 20 bytes a session. 0B: nothing is kept, and each such question reads it anew.";
        question_runs_bytes_max: Size = "256MiB", "Memory for the same that one such question holds while it runs, `runs_bytes_max` apart; what goes beyond it is looked up twice.";
        catalogue_rows_max: Count = "5000000", "Newest events that the catalogue of fields and values is made of; older ones are counted. 0: only those that a question has time for.";
        catalogue_bytes_max: Size = "32MiB", "Memory for that catalogue, roughly.";
    }
    "Limits on one event" {
        text_bytes_max: Size = "255B", "`event_id`, `session_id`, `user_id`, `anonymous_id`, `category` and `name`, each.";
        data_bytes_max: Size = "64KiB", "`data`, as JSON.";
        context_bytes_max: Size = "64KiB", "`context`, as JSON.";
        depth_max: Count = "64", "Levels of arrays and objects in `data` and `context`.";
        sample_bytes_max: Size = "1KiB", "How much of a refused event is kept with its rejection.";
        future_tolerance: Time = "5m", "How far ahead of the server's clock a timestamp may lie before it is flagged.";
    }
    "Limits on one request" {
        events_max: Count = "10000", "Events in one request.";
        body_bytes_max: Size = "20MiB", "A body, after decompression.";
        body_budget_bytes_max: Size = "256MiB", "Bodies of all requests in flight together; above it requests are answered 503. An eighth of it, at least 1MiB, is for requests without a token in their head.";
        large_bodies_max: Count = "0", "Bodies above 64KiB that are worked on at once, by threads that give way to small ones; the others wait for their turn, `ingest_wait_max` at most, so that small ones never wait behind many of them. 0: three for each core.";
        body_timeout: Time = "60s", "A whole body must have come within this.";
        body_idle_timeout: Time = "10s", "Longest pause while a body comes.";
        header_timeout: Time = "10s", "A request's head must have come within this; an idle connection is closed after it.";
        header_bytes_max: Size = "32KiB", "A request's head. At least 8KiB.";
        headers_max: Count = "64", "Header lines in a request.";
        at_least_wait_max: Time = "10s", "How long an answer waits for the offset in `at_least`.";
        answer_idle_timeout: Time = "30s", "Longest pause while a client takes an answer, a PostgreSQL client too; then the answer is given up, with what it holds.";
    }
    "SQL" {
        sql_time_max: Time = "60s", "How long one statement may take, from its turn to its last row.";
        sql_rows_max: Count = "1000000", "Rows of one answer; a statement with more stops with an error.";
        sql_memory_bytes_max: Size = "256MiB", "Memory of one statement. Joins, sorts and groups beyond it go to disk. At least 16MiB.";
        sql_spill_bytes_max: Size = "4GiB", "Disk that one statement may use for that, in `sql-spill` in the data folder.";
        sql_text_bytes_max: Size = "32KiB", "The text of one statement. At most 32KiB.";
        sql_queries_max: Count = "8", "Statements that run at once; others wait for 5s, then are answered 503.";
        sql_queries_per_token_max: Count = "4", "Statements of one token that run at once; more are answered 503.";
        sql_threads: Count = "0", "Threads that work on statements. 0: one for each core.";
        postgres_listen: OptionalAddress = "", "Where PostgreSQL clients (psql, drivers, Grafana) connect, such as `127.0.0.1:5432`; the password is a token. There is no TLS. Empty: nowhere.";
        postgres_connections_max: Count = "32", "PostgreSQL clients that are connected at once; more are refused.";
        postgres_logins_max: Count = "0", "PostgreSQL clients at once that have not shown their token yet; more are closed. 0: as many as may be connected, and at least 16.";
        postgres_login_timeout: Time = "60s", "A PostgreSQL client must have shown its token within this.";
        postgres_login_bytes_max: Size = "32KiB", "All that a PostgreSQL client may send before it has shown its token. At least 1KiB.";
        postgres_message_bytes_max: Size = "1MiB", "One message of a PostgreSQL client after that: a statement, or its parameters. At least 1KiB.";
        postgres_prepared_max: Count = "1000", "Prepared statements that one connection of a PostgreSQL client may have, and as many portals (statements with their values); more are refused.";
        postgres_prepared_bytes_max: Size = "4MiB", "What those of one connection may take together: texts, names and values.";
    }
    "Limits on all clients together" {
        connections_max: Count = "10000", "Open connections; at the limit one that has been silent for a second makes room, else new ones wait in the backlog. Lowered at the start if the system allows fewer open files.";
        connections_per_ip_max: Count = "0", "Open connections of one address; more are closed at once. 0: no limit.";
        disk_reserve: Size = "256MiB", "Free space that is left on the disk: below it collecting answers 507, and reads go on.";
    }
    "Running" {
        shutdown_timeout: Time = "30s", "How long requests in flight may take to finish when the server stops.";
        log_level: Text = "info", "What is logged: error, warn, info, debug, trace (of the libraries: warnings only), or filters such as `info,eye_store=debug`.";
        log_format: LogFormat = "text", "How logs are written to standard error.";
    }
}
