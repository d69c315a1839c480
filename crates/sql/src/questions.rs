//! What the table functions `trend`, `funnel`, `retention` and `paths` are asked with: the same JSON as over HTTP.

use eye_query::{FunnelQuery, PathsQuery, RetentionQuery, TrendQuery};

/// Reads the body of a question as the HTTP API does. `allowed` are the applications that the asker may see; `None` is
/// all of them. An error is a message for the asker.
pub trait Questions: Send + Sync {
    /// The body of `POST /v1/query/trend`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn trend(&self, body: &str, allowed: Option<Vec<String>>) -> Result<TrendQuery, String>;

    /// The body of `POST /v1/query/funnel`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn funnel(&self, body: &str, allowed: Option<Vec<String>>) -> Result<FunnelQuery, String>;

    /// The body of `POST /v1/query/retention`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn retention(&self, body: &str, allowed: Option<Vec<String>>) -> Result<RetentionQuery, String>;

    /// The body of `POST /v1/query/paths`.
    ///
    /// # Errors
    /// What is wrong with it.
    fn paths(&self, body: &str, allowed: Option<Vec<String>>) -> Result<PathsQuery, String>;
}
