//! Errors of a statement, by what the asker must do.

use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// The result of a statement.
pub type Result<T> = std::result::Result<T, Error>;

/// A place in a statement, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The line.
    pub line: u64,
    /// The character in it.
    pub column: u64,
}

/// Why a statement has no answer, or no more of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The statement is wrong: mend it.
    #[error("{message}{}", shown(*.spot))]
    Invalid {
        /// What is wrong.
        message: String,
        /// Where, if that is known.
        spot: Option<Spot>,
    },
    /// The statement would do something that is not allowed here, whoever asks.
    #[error("{0}")]
    Refused(String),
    /// A limit was met: ask for less.
    #[error("{message} ({limit})")]
    Limit {
        /// The setting.
        limit: &'static str,
        /// What was too much, and how to ask for less.
        message: String,
    },
    /// A limit of a question was met, which no setting raises: ask for less.
    #[error("{0}")]
    TooMuch(String),
    /// Too many statements at once: ask again later.
    #[error("{message} ({limit})")]
    Busy {
        /// The setting.
        limit: &'static str,
        /// Which statements are too many.
        message: String,
    },
    /// Nobody waits for the answer any more.
    #[error("cancelled before the answer was ready: ask again if it is still wanted")]
    Cancelled,
    /// The store could not be read.
    #[error(transparent)]
    Store(eye_store::Error),
    /// Something nobody expects. The text is for the log.
    #[error("the statement could not be answered: {0}")]
    Internal(String),
}

fn shown(spot: Option<Spot>) -> String {
    spot.map(|Spot { line, column }| format!(" (line {line}, column {column})")).unwrap_or_default()
}

/// Names of the settings, for messages.
pub(crate) const TIME_MAX: &str = "sql_time_max";
pub(crate) const ROWS_MAX: &str = "sql_rows_max";
pub(crate) const MEMORY_MAX: &str = "sql_memory_bytes_max";
pub(crate) const SPILL_MAX: &str = "sql_spill_bytes_max";
pub(crate) const TEXT_MAX: &str = "sql_text_bytes_max";
pub(crate) const QUERIES_MAX: &str = "sql_queries_max";
pub(crate) const TOKEN_MAX: &str = "sql_queries_per_token_max";

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), spot: None }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::Refused(message.into())
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        let text = error.to_string();
        // A limit that comes as an error of input and output.
        if text.contains("max_temp_directory_size") { of_resources(&text) } else { Self::Internal(text) }
    }

    pub(crate) fn out_of_time(time: Duration) -> Self {
        let message = format!("the statement took longer than {time:?}: narrow it, such as to a range of timestamp");
        Self::Limit { limit: TIME_MAX, message }
    }

    pub(crate) fn too_many_rows(rows: usize) -> Self {
        Self::Limit {
            limit: ROWS_MAX,
            message: format!("the answer has more than {rows} rows: aggregate, or add LIMIT"),
        }
    }
}

/// So that it can travel through DataFusion and come back.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<eye_query::Error> for Error {
    fn from(error: eye_query::Error) -> Self {
        match error {
            eye_query::Error::Invalid { message, .. } => Self::invalid(message),
            eye_query::Error::TooMuch { message } => Self::TooMuch(message),
            eye_query::Error::Cancelled => Self::Cancelled,
            eye_query::Error::Panicked => Self::internal(&error),
            eye_query::Error::Store(error) => Self::Store(error),
        }
    }
}

impl From<ArrowError> for Error {
    fn from(error: ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => of_boxed(inner),
            ArrowError::IpcError(_) | ArrowError::CDataInterface(_) | ArrowError::SchemaError(_) => {
                Self::internal(&error)
            }
            ArrowError::IoError(..) => Self::internal(&error),
            other => Self::invalid(plain(&other.to_string())),
        }
    }
}

fn of_boxed(inner: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let inner = match inner.downcast::<Error>() {
        Ok(own) => return *own,
        Err(inner) => inner,
    };
    let inner = match inner.downcast::<DataFusionError>() {
        Ok(planned) => return (*planned).into(),
        Err(inner) => inner,
    };
    match inner.downcast::<ArrowError>() {
        Ok(arrow) => (*arrow).into(),
        Err(inner) => Error::internal(&inner),
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(inner) => of_boxed(inner),
            DataFusionError::ArrowError(inner, _) => (*inner).into(),
            DataFusionError::Shared(inner) => of_shared(&inner),
            DataFusionError::Context(context, inner) => match (*inner).into() {
                Self::Internal(text) => Self::Internal(format!("{context}: {text}")),
                other => other,
            },
            DataFusionError::Diagnostic(diagnostic, inner) => {
                let spot = diagnostic.span.map(|span| Spot { line: span.start.line, column: span.start.column });
                match (*inner).into() {
                    Self::Invalid { message, spot: None } => {
                        Self::Invalid { message, spot: spot.filter(|spot| spot.line > 0) }
                    }
                    other => other,
                }
            }
            DataFusionError::Collection(errors) => {
                errors.into_iter().next().map_or_else(|| Self::Internal("no error".into()), Into::into)
            }
            DataFusionError::ResourcesExhausted(text) => of_resources(&text),
            DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Execution(_)
            | DataFusionError::Configuration(_) => of_text(&error.strip_backtrace()),
            other => Self::internal(&other),
        }
    }
}

/// An error that several readers share: read by its text, unless it is ours.
fn of_shared(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => {
            inner.downcast_ref::<Error>().cloned().unwrap_or_else(|| Error::internal(inner))
        }
        DataFusionError::Shared(inner) => of_shared(inner),
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => of_shared(inner),
        DataFusionError::ResourcesExhausted(text) => of_resources(text),
        DataFusionError::ArrowError(inner, _) => match &**inner {
            ArrowError::ExternalError(inner) => {
                inner.downcast_ref::<Error>().cloned().unwrap_or_else(|| Error::internal(inner))
            }
            ArrowError::IoError(..)
            | ArrowError::IpcError(_)
            | ArrowError::CDataInterface(_)
            | ArrowError::SchemaError(_) => Error::internal(inner),
            other => Error::invalid(plain(&other.to_string())),
        },
        DataFusionError::Internal(_) | DataFusionError::IoError(_) | DataFusionError::ExecutionJoin(_) => {
            Error::internal(error)
        }
        other => of_text(&other.strip_backtrace()),
    }
}

fn of_resources(text: &str) -> Error {
    let (limit, what) = match text.contains("disk space") || text.contains("temp director") {
        true => (SPILL_MAX, "the statement needs more room on disk than it may have"),
        false => (MEMORY_MAX, "the statement needs more memory than it may have"),
    };
    Error::Limit { limit, message: format!("{what}: ask for fewer columns, groups or rows, or a shorter time") }
}

fn of_text(text: &str) -> Error {
    let (message, spot) = split_spot(&plain(text));
    Error::Invalid { message, spot }
}

/// The text without what only tells which layer it comes from.
fn plain(text: &str) -> String {
    const PREFIXES: [&str; 12] = [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "Schema error: ",
        "Arrow error: ",
        "SQL error: ",
        "Invalid argument error: ",
        "Cast error: ",
        "Parser error: ",
        "Compute error: ",
        "Invalid or Unsupported Configuration: ",
        "External error: ",
    ];
    let mut text = text.trim();
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest.trim();
    }
    for wrapper in ["ParserError(", "TokenizerError("] {
        if let Some(inner) = text.strip_prefix(wrapper).and_then(|rest| rest.strip_suffix(')')) {
            // What is quoted there is quoted as Rust quotes.
            return serde_json::from_str(inner).unwrap_or_else(|_| inner.trim_matches('"').to_owned());
        }
    }
    match text {
        "RecursionLimitExceeded" => "the statement is nested too deeply: write it flatter".to_owned(),
        other => other.to_owned(),
    }
}

/// Parser errors end with ` at Line: 1, Column: 8`.
fn split_spot(text: &str) -> (String, Option<Spot>) {
    let spot = || {
        let (message, place) = text.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        let column: String = column.chars().take_while(char::is_ascii_digit).collect();
        let spot = Spot { line: line.parse().ok()?, column: column.parse().ok()? };
        Some((message.to_owned(), Some(spot).filter(|spot| spot.line > 0)))
    };
    spot().unwrap_or_else(|| (text.to_owned(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_parser_errors() {
        let error = of_text("SQL error: ParserError(\"Expected: FROM, found: \\\"x\\\" at Line: 2, Column: 14\")");
        let Error::Invalid { message, spot } = error else { panic!("{error:?}") };
        assert_eq!(message, "Expected: FROM, found: \"x\"");
        assert_eq!(spot, Some(Spot { line: 2, column: 14 }));
    }

    #[test]
    fn our_errors_survive_the_way_through() {
        let own = Error::too_many_rows(7);
        let wrapped = DataFusionError::from(own.clone()).context("somewhere");
        assert_eq!(Error::from(wrapped).to_string(), own.to_string());
        let shared = DataFusionError::Shared(std::sync::Arc::new(own.clone().into()));
        assert_eq!(Error::from(shared).to_string(), own.to_string());
        let full = || {
            let text = "The used disk space has exceeded the limit: datafusion.runtime.max_temp_directory_size";
            DataFusionError::from(ArrowError::IoError(text.to_owned(), std::io::Error::other("full")))
        };
        let shared = DataFusionError::Shared(std::sync::Arc::new(full()));
        for error in [full(), shared, full().context("somewhere")] {
            assert!(matches!(Error::from(error), Error::Limit { limit: SPILL_MAX, .. }));
        }
        let arrow = ArrowError::ExternalError(Box::new(DataFusionError::from(own.clone())));
        assert_eq!(Error::from(DataFusionError::from(arrow)).to_string(), own.to_string());
    }
}
