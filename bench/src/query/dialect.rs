//! What the peers' SQL does not have in common.

use eye_event::Timestamp;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    DuckDb,
    ClickHouse,
    Postgres,
}

impl Dialect {
    /// A moment as a literal.
    pub(super) fn time(self, micros: i64) -> String {
        let text = Timestamp::from_micros(micros).to_string();
        let text = text.trim_end_matches('Z').replace('T', " ");
        match self {
            Self::DuckDb => format!("timestamp '{text}'"),
            Self::ClickHouse => format!("toDateTime64('{text}', 6, 'UTC')"),
            Self::Postgres => format!("timestamptz '{text}+00'"),
        }
    }

    /// True from the first moment to before the second.
    pub(super) fn range(self, from: i64, to: i64) -> String {
        format!("timestamp >= {} and timestamp < {}", self.time(from), self.time(to))
    }

    /// The beginning of a column's hour, day or week.
    pub(super) fn cut(self, unit: &str, column: &str) -> String {
        match (self, unit) {
            (Self::ClickHouse, "hour") => format!("toStartOfHour({column})"),
            (Self::ClickHouse, "day") => format!("toStartOfDay({column})"),
            (Self::ClickHouse, _) => format!("toStartOfWeek({column}, 1)"),
            _ => format!("date_trunc('{unit}', {column})"),
        }
    }

    /// Seconds since 1970 of such a beginning.
    pub(super) fn seconds(self, column: &str) -> String {
        match self {
            Self::DuckDb => format!("epoch({column})::bigint"),
            Self::ClickHouse => format!("toUnixTimestamp(toDateTime({column}, 'UTC'))"),
            Self::Postgres => format!("extract(epoch from {column})::bigint"),
        }
    }

    /// A text in `data`.
    pub(super) fn data(self, key: &str) -> String {
        match self {
            Self::DuckDb => format!("data->>'$.{key}'"),
            Self::ClickHouse => format!("JSONExtractString(data, '{key}')"),
            Self::Postgres => format!("data->>'{key}'"),
        }
    }

    /// How many different values, exactly.
    pub(super) fn distinct(self, column: &str) -> String {
        match self {
            Self::ClickHouse => format!("uniqExact({column})"),
            _ => format!("count(distinct {column})"),
        }
    }
}
