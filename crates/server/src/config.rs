//! Settings: one table, read from flags, `EYE_*` variables and one file. Nothing below this module reads the environment.
//!
//! | module | what it holds |
//! |---|---|
//! | [`table`] | the table: names, kinds, defaults, documentation |
//! | [`kind`] | sizes, times, addresses: text to value and back |
//! | [`resolve`] | default, file, environment, flag: later wins, wrong is an error |
//! | [`report`] | what `eye config` and docs/configuration.md say |

pub(crate) mod kind;
pub(crate) mod report;
pub(crate) mod resolve;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use resolve::{Resolved, Written};
pub(crate) use table::Settings;

/// Below this the log would be mostly files.
const SEGMENT_BYTES_MIN: usize = 64 * 1024;
/// hyper needs at least this much for a request's head.
const HEADER_BYTES_MIN: usize = 8 * 1024;
/// Less is not enough to merge what was sorted on disk.
const SQL_MEMORY_MIN: usize = 16 * 1024 * 1024;
/// What a PostgreSQL client says of itself, or its token, has to fit.
const POSTGRES_BYTES_MIN: usize = 1024;
/// The text of a statement has to fit into a small JSON body, escapes included.
const SQL_TEXT_MAX: usize = 32 * 1024;

/// Half of what the offsets of a column of texts can count.
const COMPACTION_MEMORY_MAX: usize = 1 << 30;

/// With the quarter by which recovery may exceed it, less than the offsets of a column of texts can count: all that is hot
/// may become one slice.
const HOT_BYTES_MAX: usize = 3 << 29;

/// What retention counts in.
const DAY_SECONDS: u64 = 86_400;

/// Longer than any request of an object store is under way.
const REMOTE_RETENTION_MIN: Duration = Duration::from_secs(3600);

impl Settings {
    /// Rules between settings that one value alone cannot show.
    ///
    /// # Errors
    /// Which setting is wrong and what it must be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let rules = [
            (self.partitions > 0 && self.partitions <= 1024, "partitions must be from 1 to 1024"),
            (self.header_bytes_max >= HEADER_BYTES_MIN, "header_bytes_max must be at least 8KiB"),
            (self.headers_max > 0, "headers_max must be at least 1"),
            (self.events_max > 0, "events_max must be at least 1"),
            (self.body_bytes_max > 0, "body_bytes_max must be at least 1"),
            (self.connections_max > 0, "connections_max must be at least 1"),
            (self.text_bytes_max > 0, "text_bytes_max must be at least 1"),
            (self.flush_rows_max > 0, "flush_rows_max must be at least 1"),
            (self.compaction_file_bytes > 0, "compaction_file_bytes must be at least 1"),
            (self.compaction_memory_bytes > 0, "compaction_memory_bytes must be at least 1"),
            (
                self.compaction_memory_bytes <= COMPACTION_MEMORY_MAX,
                "compaction_memory_bytes must be at most 1GiB: a slice of texts above 2 GiB cannot be read",
            ),
            (
                self.vacuum_retention >= REMOTE_RETENTION_MIN || !self.table_url().contains("://"),
                "vacuum_retention must be at least 1h on object storage: a write whose answer was lost may take effect late",
            ),
            (
                self.retention
                    .iter()
                    .all(|rule| self.is_beyond_window(Duration::from_secs(u64::from(rule.days) * DAY_SECONDS))),
                "retention must keep events at least as long as dedup_window: else a repeat of one that is gone would be new",
            ),
            (
                self.rejection_retention.as_secs().is_multiple_of(DAY_SECONDS)
                    && self.rejection_retention.subsec_nanos() == 0,
                "rejection_retention must be whole days, such as 7d",
            ),
            (self.log_segment_bytes_max >= SEGMENT_BYTES_MIN, "log_segment_bytes_max must be at least 64KiB"),
            (self.sql_time_max > Duration::ZERO, "sql_time_max must be longer than 0s"),
            (self.sql_rows_max > 0, "sql_rows_max must be at least 1"),
            (self.sql_memory_bytes_max >= SQL_MEMORY_MIN, "sql_memory_bytes_max must be at least 16MiB"),
            (self.sql_text_bytes_max <= SQL_TEXT_MAX, "sql_text_bytes_max must be at most 32KiB"),
            (self.sql_queries_max > 0, "sql_queries_max must be at least 1"),
            (self.sql_queries_per_token_max > 0, "sql_queries_per_token_max must be at least 1"),
            (self.postgres_connections_max > 0, "postgres_connections_max must be at least 1"),
            (self.postgres_login_timeout > Duration::ZERO, "postgres_login_timeout must be longer than 0s"),
            (self.postgres_login_bytes_max >= POSTGRES_BYTES_MIN, "postgres_login_bytes_max must be at least 1KiB"),
            (self.postgres_message_bytes_max >= POSTGRES_BYTES_MIN, "postgres_message_bytes_max must be at least 1KiB"),
            (self.header_timeout > Duration::ZERO, "header_timeout must be longer than 0s"),
            (self.body_timeout > Duration::ZERO, "body_timeout must be longer than 0s"),
            (self.body_idle_timeout > Duration::ZERO, "body_idle_timeout must be longer than 0s"),
            (self.answer_idle_timeout > Duration::ZERO, "answer_idle_timeout must be longer than 0s"),
            (
                self.body_budget_bytes_max >= self.body_bytes_max,
                "body_budget_bytes_max must be at least body_bytes_max: one body has to fit",
            ),
            (
                self.hot_bytes_max <= HOT_BYTES_MAX,
                "hot_bytes_max must be at most 1536MiB: a slice of texts above 2 GiB cannot be read",
            ),
            (
                self.hot_bytes_max >= self.flush_bytes_max,
                "hot_bytes_max must be at least flush_bytes_max: a flush has to begin before collecting waits",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(format!("{rule} (\"eye config\" shows where each value comes from)")),
            None => Ok(()),
        }
    }

    fn is_beyond_window(&self, kept: Duration) -> bool {
        kept >= self.dedup_window
    }

    /// The limits on one event.
    pub(crate) fn limits(&self) -> eye_event::Limits {
        eye_event::Limits {
            text_bytes_max: self.text_bytes_max,
            data_bytes_max: self.data_bytes_max,
            context_bytes_max: self.context_bytes_max,
            depth_max: self.depth_max,
            sample_bytes_max: self.sample_bytes_max,
            future_micros_max: i64::try_from(self.future_tolerance.as_micros()).unwrap_or(i64::MAX),
            ..eye_event::Limits::default()
        }
    }

    /// Where statements keep what does not fit into memory.
    pub(crate) fn sql_spill_path(&self) -> PathBuf {
        self.data.join("sql-spill")
    }

    /// Where the table is: as set, or in the data folder.
    pub(crate) fn table_url(&self) -> String {
        self.table.clone().unwrap_or_else(|| self.data.join("table").display().to_string())
    }

    /// Options of the object store: the usual variables of the clouds, then what was set here.
    pub(crate) fn object_store_options(&self) -> BTreeMap<String, String> {
        let clouds = ["AWS_", "AZURE_", "GOOGLE_"];
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        variables
            .filter(|(name, _)| clouds.iter().any(|cloud| name.starts_with(cloud)))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_string_lossy().into_owned()))
            .chain(self.table_option.clone())
            .collect()
    }

    /// Held while the data folder is open; holds the process id.
    pub(crate) fn lock_path(&self) -> PathBuf {
        self.data.join("lock")
    }

    /// Where a restore puts what it has not finished.
    pub(crate) fn restoring_path(&self) -> PathBuf {
        self.data.join("restoring")
    }

    /// The registry's log.
    pub(crate) fn registry_path(&self) -> PathBuf {
        self.data.join("registry")
    }

    /// One partition's log.
    pub(crate) fn log_path(&self, partition: u16) -> PathBuf {
        self.data.join("log").join(partition.to_string())
    }

    /// The server's address, for the command line on the same machine.
    pub(crate) fn address_path(&self) -> PathBuf {
        self.data.join("address")
    }

    /// The command line's own token, readable by the owner only.
    pub(crate) fn cli_token_path(&self) -> PathBuf {
        self.data.join("cli-token")
    }

    /// How many partitions the data folder was made with.
    pub(crate) fn partitions_path(&self) -> PathBuf {
        self.data.join("partitions")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_good_settings() {
        let settings = Settings::defaults().unwrap();
        settings.check().unwrap();
        assert_eq!(settings.limits(), eye_event::Limits::default());
        for setting in table::TABLE {
            let mut again = settings.clone();
            again.set(setting.name, &settings.show(setting.name)).unwrap();
            assert_eq!(again.show(setting.name), settings.show(setting.name));
        }
    }

    #[test]
    fn replaced_files_stay_for_a_while_on_object_storage() {
        let mut settings = Settings::defaults().unwrap();
        settings.set("vacuum_retention", "1m").unwrap();
        settings.check().unwrap();
        settings.set("table", "s3://bucket/eye").unwrap();
        assert!(settings.check().unwrap_err().starts_with("vacuum_retention"));
    }

    #[test]
    fn slices_that_could_not_be_read_are_not_made() {
        let mut settings = Settings::defaults().unwrap();
        settings.set("compaction_memory_bytes", "1GiB").unwrap();
        settings.check().unwrap();
        settings.set("compaction_memory_bytes", "2GiB").unwrap();
        assert!(settings.check().unwrap_err().starts_with("compaction_memory_bytes"));
    }

    #[test]
    fn events_are_kept_as_long_as_their_ids() {
        let mut settings = Settings::defaults().unwrap();
        settings.set("retention", "web/*=2d").unwrap();
        settings.check().unwrap();
        settings.set("dedup_window", "3d").unwrap();
        assert!(settings.check().unwrap_err().starts_with("retention"));
        settings.set("dedup_window", "2d").unwrap();
        settings.set("rejection_retention", "36h").unwrap();
        assert!(settings.check().unwrap_err().starts_with("rejection_retention"));
    }

    #[test]
    fn a_budget_below_one_body_is_refused() {
        let mut settings = Settings::defaults().unwrap();
        settings.set("body_budget_bytes_max", "1MiB").unwrap();
        assert!(settings.check().unwrap_err().starts_with("body_budget_bytes_max"));
    }
}
