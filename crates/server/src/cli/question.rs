//! What the commands that ask questions share: their flags, and the body of the request.

use eye_event::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Context;
use super::failure::Result;

/// Reads a query line given without a flag's name. A line may begin with one minus sign, so what begins with two is a flag
/// that does not exist.
pub(crate) fn line(text: &str) -> std::result::Result<String, String> {
    if text.starts_with("--") {
        return Err(String::from(
            "there is no such flag, and a query line does not begin with two minus signs; see --help",
        ));
    }
    Ok(String::from(text))
}

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
    /// The zone's name.
    pub(crate) fn name(&self) -> &str {
        &self.time_zone
    }

    pub(crate) fn add(&self, body: &mut Body) {
        body.text("time_zone", Some(&self.time_zone)).text("week_start", Some(&self.week_start));
    }
}

/// The range that an answer has looked at.
#[derive(Deserialize)]
pub(crate) struct Seen {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// The range in words.
pub(crate) fn range_of(seen: &Seen) -> String {
    let clock = Clock { zone: TimeZone::UTC, form: "%Y-%m-%d %H:%M:%S" };
    let show = |at: Option<Timestamp>| at.map_or_else(|| "ever".to_owned(), |at| clock.show(at));
    format!("from {} to {} UTC", show(seen.from), show(seen.to))
}

/// How moments are shown: by the clock of a zone, as fine as the interval needs.
pub(crate) struct Clock {
    zone: TimeZone,
    form: &'static str,
}

impl Clock {
    /// The clock of a zone that the server has accepted.
    pub(crate) fn new(zone: &str, interval: &str) -> Self {
        let form = match interval {
            "day" | "week" => "%Y-%m-%d",
            "month" => "%Y-%m",
            "minute" | "hour" => "%Y-%m-%d %H:%M",
            _ => "%Y-%m-%d %H:%M:%S",
        };
        Self { zone: TimeZone::get(zone).unwrap_or(TimeZone::UTC), form }
    }

    pub(crate) fn show(&self, at: Timestamp) -> String {
        let moment = jiff::Timestamp::from_microsecond(at.micros());
        let zoned = moment.map(|moment| moment.to_zoned(self.zone.clone()).strftime(self.form).to_string());
        zoned.unwrap_or_else(|_| at.to_string())
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
