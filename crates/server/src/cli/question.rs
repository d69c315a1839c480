//! What the commands that ask questions share: their flags, and the body of the request.

use serde_json::{Map, Value};

use super::Context;
use super::failure::Result;

/// The range of time.
#[derive(Debug, clap::Args)]
pub(crate) struct Range {
    /// Only at or after this time (the query line's since: does the same)
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Wait until the server has seen this offset
    #[arg(long, value_name = "OFFSET")]
    at_least: Option<String>,
}

impl Range {
    pub(crate) fn add(&self, body: &mut Body) {
        body.text("from", self.from.as_deref())
            .text("to", self.to.as_deref())
            .text("at_least", self.at_least.as_deref());
    }

    /// As query parameters.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        let all = [("from", &self.from), ("to", &self.to), ("at_least", &self.at_least)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// Whose clock.
#[derive(Debug, clap::Args)]
pub(crate) struct Zone {
    /// Whose clock cuts the time? An IANA name, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// On which day do weeks begin? monday, sunday, or saturday
    #[arg(long, value_name = "DAY", default_value = "monday")]
    week_start: String,
}

impl Zone {
    pub(crate) fn add(&self, body: &mut Body) {
        body.text("time_zone", Some(&self.time_zone)).text("week_start", Some(&self.week_start));
    }
}

/// A question's JSON object. What is not given is left out.
pub(crate) struct Body(Map<String, Value>);

impl Body {
    pub(crate) fn new() -> Self {
        Self(Map::new())
    }

    pub(crate) fn text(&mut self, name: &str, value: Option<&str>) -> &mut Self {
        self.0.extend(value.map(|value| (name.to_owned(), value.into())));
        self
    }

    pub(crate) fn number(&mut self, name: &str, value: usize) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn flag(&mut self, name: &str, value: bool) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    pub(crate) fn list(&mut self, name: &str, values: &[String]) -> &mut Self {
        self.0.insert(name.to_owned(), values.into());
        self
    }

    /// The server's answer.
    pub(crate) fn ask(self, context: &Context<'_>, path: &str) -> Result<String> {
        context.client()?.send("POST", path, &Value::Object(self.0))
    }
}
