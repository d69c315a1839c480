//! The two tables' schemas, in Arrow's words and in Delta's. Part of the data format: columns are only ever added.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

/// The partition column: the UTC date of `received_at`, kept in the file's path.
pub const RECEIVED_DATE: &str = "received_date";

/// Which of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TableKind {
    /// What was stored.
    Events,
    /// What was refused, and why.
    Rejections,
}

impl TableKind {
    /// The table's name, and the name of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Rejections => "rejections",
        }
    }

    /// The columns as they stand in a file: without `received_date`.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        match self {
            Self::Events => Arc::clone(&EVENTS),
            Self::Rejections => Arc::clone(&REJECTIONS),
        }
    }

    /// The column that cuts a file into slices, newest first.
    #[must_use]
    pub const fn time_column(self) -> &'static str {
        match self {
            Self::Events => "timestamp",
            Self::Rejections => "received_at",
        }
    }

    /// Texts whose bounds may stand in the log: no personal fields, for what stands there outlives an erasure.
    pub(crate) const fn text_stats(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["application", "category", "name"],
            Self::Rejections => &["application", "code"],
        }
    }

    /// Times whose bounds stand in the log.
    pub(crate) const fn time_stats(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["timestamp", "received_at"],
            Self::Rejections => &["received_at"],
        }
    }

    /// Few different values: a dictionary pays. Everywhere else its page would cost every lookup.
    pub(crate) const fn dictionary_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["application", "category", "name", "partition", "problems.list.element"],
            Self::Rejections => &["application", "token", "partition", "code", "field", "message"],
        }
    }

    /// Nothing repeats in them but the lengths: these stand apart from the texts, which are then compressed quicker and
    /// smaller.
    pub(crate) const fn random_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["event_id"],
            Self::Rejections => &[],
        }
    }

    /// Numbers near those of the rows before: what lies between them is a few bits. Compression would save little of these
    /// and be most of the work of reading them. (Times of receiving are the same for a whole request: they compress well.)
    pub(crate) const fn number_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["timestamp", "offset"],
            Self::Rejections => &["offset"],
        }
    }

    /// Nearly always the same: a few bytes a page, which compression would only make more.
    pub(crate) const fn constant_columns(self) -> &'static [&'static str] {
        match self {
            Self::Events => &["application", "partition", "problems.list.element"],
            Self::Rejections => &["partition"],
        }
    }

    /// The schema in Delta's JSON, `received_date` last.
    pub(crate) fn delta_schema(self) -> Value {
        let mut fields: Vec<Value> = self.schema().fields().iter().map(|field| delta_field(field)).collect();
        fields.push(json!({"name": RECEIVED_DATE, "type": "date", "nullable": false, "metadata": {}}));
        json!({"type": "struct", "fields": fields})
    }
}

fn delta_field(field: &Field) -> Value {
    let kind = match field.data_type() {
        DataType::Timestamp(..) => json!("timestamp"),
        DataType::Int32 => json!("integer"),
        DataType::Int64 => json!("long"),
        DataType::List(_) => json!({"type": "array", "elementType": "string", "containsNull": false}),
        _ => json!("string"),
    };
    json!({"name": field.name(), "type": kind, "nullable": field.is_nullable(), "metadata": {}})
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn optional_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn time(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), nullable)
}

/// The one element field of a list, named as Parquet names it.
pub(super) fn list_element() -> Arc<Field> {
    Arc::new(text("element"))
}

static EVENTS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("event_id"),
        text("application"),
        text("session_id"),
        text("category"),
        text("name"),
        time("timestamp", false),
        optional_text("timestamp_raw"),
        time("sent_at", true),
        time("received_at", false),
        optional_text("user_id"),
        optional_text("anonymous_id"),
        text("data"),
        optional_text("context"),
        Field::new("problems", DataType::List(list_element()), false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
    ]))
});

static REJECTIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        text("application"),
        text("token"),
        time("received_at", false),
        Field::new("partition", DataType::Int32, false),
        Field::new("offset", DataType::Int64, false),
        text("code"),
        text("field"),
        text("message"),
        text("sample"),
    ]))
});
