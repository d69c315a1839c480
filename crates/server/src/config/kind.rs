//! The kinds of values a setting can have: how each is read from text and written back.
//!
//! Flags, environment variables and the file all give text, so that one reader and one error message serve all three.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A kind of value.
pub(crate) trait Kind {
    /// What a value of this kind is in the program.
    type Value;
    /// What a person calls it: shown in help, errors and the documentation.
    const NAME: &'static str;
    /// Reads a value; the error says what to write instead.
    fn read(text: &str) -> Result<Self::Value, String>;
    /// Writes a value so that `read` gives it back.
    fn show(value: &Self::Value) -> String;
}

macro_rules! number_kind {
    ($kind:ident, $type:ty, $name:literal) => {
        #[doc = $name]
        pub(crate) struct $kind;

        impl Kind for $kind {
            type Value = $type;
            const NAME: &'static str = $name;

            fn read(text: &str) -> Result<$type, String> {
                let digits = text.trim().replace('_', "");
                digits.parse().map_err(|_| format!("write a whole number from {} to {}", <$type>::MIN, <$type>::MAX))
            }

            fn show(value: &$type) -> String {
                value.to_string()
            }
        }
    };
}

number_kind!(Count, usize, "number");
number_kind!(SmallCount, u16, "number");

/// A path of a folder or file.
pub(crate) struct Folder;

impl Kind for Folder {
    type Value = PathBuf;
    const NAME: &'static str = "path";

    fn read(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() { Err("write a path".to_owned()) } else { Ok(PathBuf::from(text)) }
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

/// An IP address and a port.
pub(crate) struct Address;

impl Kind for Address {
    type Value = SocketAddr;
    const NAME: &'static str = "address";

    fn read(text: &str) -> Result<SocketAddr, String> {
        let text = text.trim();
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        numeric
            .as_deref()
            .unwrap_or(text)
            .parse()
            .map_err(|_| "write an IP address and a port, such as 127.0.0.1:7070 or 0.0.0.0:7070".to_owned())
    }

    fn show(value: &SocketAddr) -> String {
        value.to_string()
    }
}

/// The same, or nothing.
pub(crate) struct OptionalAddress;

impl Kind for OptionalAddress {
    type Value = Option<SocketAddr>;
    const NAME: &'static str = "address";

    fn read(text: &str) -> Result<Option<SocketAddr>, String> {
        if text.trim().is_empty() { Ok(None) } else { Address::read(text).map(Some) }
    }

    fn show(value: &Option<SocketAddr>) -> String {
        value.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// Text that may be absent.
pub(crate) struct Text;

impl Kind for Text {
    type Value = Option<String>;
    const NAME: &'static str = "text";

    fn read(text: &str) -> Result<Option<String>, String> {
        let text = text.trim();
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn show(value: &Option<String>) -> String {
        value.clone().unwrap_or_default()
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The kind of [`Format`].
pub(crate) struct LogFormat;

impl Kind for LogFormat {
    type Value = Format;
    const NAME: &'static str = "text or json";

    fn read(text: &str) -> Result<Format, String> {
        match text.trim() {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err("write text or json".to_owned()),
        }
    }

    fn show(value: &Format) -> String {
        match value {
            Format::Text => "text".to_owned(),
            Format::Json => "json".to_owned(),
        }
    }
}

/// Names with values, such as the options of an object store.
pub(crate) struct Options;

impl Kind for Options {
    type Value = BTreeMap<String, String>;
    const NAME: &'static str = "name=value,…";

    fn read(text: &str) -> Result<BTreeMap<String, String>, String> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').ok_or("write name=value, several with commas between them")?;
                Ok((name.trim().to_owned(), value.trim().to_owned()))
            })
            .collect()
    }

    /// Values are never shown: they may be keys.
    fn show(value: &BTreeMap<String, String>) -> String {
        value.keys().map(|name| format!("{name}=(hidden)")).collect::<Vec<_>>().join(",")
    }
}

/// For how many whole days events of an application and a category are kept; `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptFor {
    pub(crate) application: Option<String>,
    pub(crate) category: Option<String>,
    pub(crate) days: u32,
}

/// How long events are kept, by application and category.
pub(crate) struct Retention;

impl Kind for Retention {
    type Value = Vec<KeptFor>;
    const NAME: &'static str = "application/category=days,…";

    fn read(text: &str) -> Result<Vec<KeptFor>, String> {
        let rules = text.split(',').map(str::trim).filter(|rule| !rule.is_empty());
        rules.map(read_rule).collect()
    }

    fn show(value: &Vec<KeptFor>) -> String {
        let any = |name: &Option<String>| name.clone().unwrap_or_else(|| "*".to_owned());
        let rule = |rule: &KeptFor| format!("{}/{}={}d", any(&rule.application), any(&rule.category), rule.days);
        value.iter().map(rule).collect::<Vec<_>>().join(", ")
    }
}

fn read_rule(text: &str) -> Result<KeptFor, String> {
    let wrong = || format!("write rules such as web/*=90d or */debug=7d, with commas between them, not {text:?}");
    let (which, days) = text.rsplit_once('=').ok_or_else(wrong)?;
    let (application, category) = which.split_once('/').ok_or_else(wrong)?;
    let name = |name: &str| match name.trim() {
        "" => Err(wrong()),
        "*" => Ok(None),
        name => Ok(Some(name.to_owned())),
    };
    let days = days.trim().strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).filter(|days| *days > 0);
    Ok(KeptFor { application: name(application)?, category: name(category)?, days: days.ok_or_else(wrong)? })
}

/// A size in bytes.
pub(crate) struct Size;

/// Largest first, so that a value is shown in the largest unit that divides it.
const SIZE_UNITS: [(&str, usize); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl Kind for Size {
    type Value = usize;
    const NAME: &'static str = "size";

    fn read(text: &str) -> Result<usize, String> {
        let wrong = || "write a size such as 512KiB, 64MiB or 2GiB".to_owned();
        let (number, unit) = split_unit(text);
        let number: usize = number.parse().map_err(|_| wrong())?;
        let unit = if unit.is_empty() { "B" } else { unit };
        let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number.checked_mul(*bytes).ok_or_else(wrong)
    }

    fn show(value: &usize) -> String {
        let whole = SIZE_UNITS.iter().filter(|(unit, _)| unit.ends_with("iB"));
        match whole.into_iter().find(|(_, bytes)| *value >= *bytes && value.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => format!("{}{unit}", value / bytes),
            None => format!("{value}B"),
        }
    }
}

/// A length of time.
pub(crate) struct Time;

const TIME_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Kind for Time {
    type Value = Duration;
    const NAME: &'static str = "time";

    fn read(text: &str) -> Result<Duration, String> {
        let wrong = || "write a length of time such as 500ms, 60s, 5m, 24h or 7d".to_owned();
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        if number == 0 && unit.is_empty() {
            return Ok(Duration::ZERO);
        }
        let (_, millis) = TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*millis).map(Duration::from_millis).ok_or_else(wrong)
    }

    fn show(value: &Duration) -> String {
        let millis = value.as_millis();
        match TIME_UNITS
            .iter()
            .find(|(_, unit)| millis >= u128::from(*unit) && millis.is_multiple_of(u128::from(*unit)))
        {
            Some((name, unit)) => format!("{}{name}", millis / u128::from(*unit)),
            None => "0s".to_owned(),
        }
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes) in [("64MiB", 64 << 20), ("64 mib", 64 << 20), ("512", 512), ("1kB", 1000), ("0", 0)] {
            assert_eq!(Size::read(text), Ok(bytes), "{text}");
            assert_eq!(Size::read(&Size::show(&bytes)), Ok(bytes));
        }
        for wrong in ["", "MiB", "-1", "1XB", "1.5MiB", "99999999999TiB"] {
            assert!(Size::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_and_shown() {
        for (text, millis) in [("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("24h", 86_400_000), ("0", 0)] {
            let time = Duration::from_millis(millis);
            assert_eq!(Time::read(text), Ok(time), "{text}");
            assert_eq!(Time::read(&Time::show(&time)), Ok(time));
        }
        assert_eq!(Time::show(&Duration::from_secs(90)), "90s");
        for wrong in ["", "10", "s", "5 minutes", "-1s"] {
            assert!(Time::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn option_values_are_hidden_when_shown() {
        let options = Options::read("aws_endpoint=http://x, aws_secret_access_key=abc").unwrap();
        assert_eq!(options["aws_secret_access_key"], "abc");
        assert!(!Options::show(&options).contains("abc"));
        assert!(Options::read("novalue").is_err());
    }

    #[test]
    fn retention_rules_are_read_and_shown() {
        let rules = Retention::read("web/page view=90d, */debug=7d,").unwrap();
        let rule = |application: Option<&str>, category: Option<&str>, days| KeptFor {
            application: application.map(str::to_owned),
            category: category.map(str::to_owned),
            days,
        };
        assert_eq!(rules, [rule(Some("web"), Some("page view"), 90), rule(None, Some("debug"), 7)]);
        assert_eq!(Retention::read(&Retention::show(&rules)).unwrap(), rules);
        assert_eq!(Retention::read("").unwrap(), []);
        for wrong in ["web", "web=7d", "web/*", "web/*=7", "web/*=0d", "/x=7d", "web/=7d", "web/*=7h", "web/*=-1d"] {
            assert!(Retention::read(wrong).unwrap_err().contains("*/debug=7d"), "{wrong}");
        }
    }

    #[test]
    fn localhost_is_an_address() {
        assert_eq!(Address::read("localhost:1").unwrap().to_string(), "127.0.0.1:1");
        assert!(Address::read("7070").is_err());
    }
}
