//! [`Timestamp`]: UTC microseconds since 1970, read from what clients write and written back without loss.
//!
//! Read: RFC 3339 (`T` or a space, any offset, 0 to 9 fraction digits), the same without an offset (taken as UTC), and
//! epoch numbers in seconds, milliseconds, microseconds or nanoseconds, told apart by their size. Years 0001 to 9999.
//! Digits beyond microseconds are cut.

use std::fmt;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z.
const MIN_MICROS: i64 = -62_135_596_800 * MICROS_PER_SECOND;
/// 9999-12-31T23:59:59.999999Z.
const MAX_MICROS: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment this many microseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// The system's clock. Only the edge may call this; everything below takes time as an argument.
    #[must_use]
    pub fn now() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// Days since 1970-01-01, rounded down: the table's `received_date`.
    #[must_use]
    pub const fn days(self) -> i32 {
        #[expect(clippy::cast_possible_truncation, reason = "an i64 of microseconds is under 2^31 days")]
        let days = self.0.div_euclid(MICROS_PER_SECOND * SECONDS_PER_DAY) as i32;
        days
    }

    /// Reads a text: RFC 3339, the same without an offset, or an epoch number. `None` if it is no time.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_civil(text.as_bytes()).or_else(|| Self::parse_epoch(text))
    }

    /// Reads a bound of a range, as people write it: a time, or a date, which stands for its first moment in UTC.
    #[must_use]
    pub fn parse_bound(text: &str) -> Option<Self> {
        let is_date = text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
        if is_date { Self::parse(&format!("{text}T00:00:00Z")) } else { Self::parse(text) }
    }

    /// Reads an epoch number by its size: below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds,
    /// else nanoseconds. Fractions are exact; exponents go through `f64`.
    #[must_use]
    pub fn parse_epoch(digits: &str) -> Option<Self> {
        let (negative, unsigned) = match digits.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, digits),
        };
        let micros = if unsigned.bytes().any(|byte| matches!(byte, b'e' | b'E')) {
            epoch_from_float(unsigned)?
        } else {
            epoch_from_decimal(unsigned)?
        };
        in_range(if negative { -micros } else { micros })
    }

    /// The seed's own format: `YYYY-MM-DD HH:MM:SS.ffffff`.
    #[must_use]
    pub fn to_seed_string(self) -> String {
        let civil = Civil::from(self);
        format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
            civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second, civil.micros
        )
    }

    /// The UTC date: `YYYY-MM-DD`.
    #[must_use]
    pub fn to_date_string(self) -> String {
        let civil = Civil::from(self);
        format!("{:04}-{:02}-{:02}", civil.year, civil.month, civil.day)
    }
}

/// RFC 3339 in UTC with six fraction digits.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let civil = Civil::from(*self);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            civil.year, civil.month, civil.day, civil.hour, civil.minute, civil.second, civil.micros
        )
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a time: send RFC 3339"))
    }
}

fn in_range(micros: i64) -> Option<Timestamp> {
    (MIN_MICROS..=MAX_MICROS).contains(&micros).then_some(Timestamp(micros))
}

fn epoch_from_decimal(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = !whole.is_empty() && whole.len() <= 19 && !(text.contains('.') && fraction.is_empty());
    if !is_number || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let (scale, places) = match whole {
        ..100_000_000_000 => (1_000_000, 6),
        100_000_000_000..100_000_000_000_000 => (1_000, 3),
        100_000_000_000_000..100_000_000_000_000_000 => (1, 0),
        _ => return Some(whole / 1_000),
    };
    let part = (0..places).fold(0, |part, place| {
        let digit = fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
        part * 10 + i64::from(digit)
    });
    whole.checked_mul(scale)?.checked_add(part)
}

/// As JSON writes a number; the standard library's reader also takes signs, names and bare points.
fn epoch_from_float(text: &str) -> Option<i64> {
    let (number, exponent) = text.split_once(['e', 'E'])?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if ![whole, fraction, exponent].into_iter().all(is_digits) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    let micros = match number {
        ..1e11 => number * 1e6,
        ..1e14 => number * 1e3,
        ..1e17 => number,
        _ => number / 1e3,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a float cast saturates, and in_range refuses the ends")]
    let whole = micros as i64;
    micros.is_finite().then_some(whole)
}

/// `YYYY-MM-DD[T ]HH:MM:SS[.fraction][Z|±HH:MM]`.
fn parse_civil(text: &[u8]) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(19)?;
    let separators_right = date[4] == b'-'
        && date[7] == b'-'
        && matches!(date[10], b'T' | b't' | b' ')
        && date[13] == b':'
        && date[16] == b':';
    if !separators_right {
        return None;
    }
    let [year, month, day] = [number(&date[..4])?, number(&date[5..7])?, number(&date[8..10])?];
    let [hour, minute, second] = [number(&date[11..13])?, number(&date[14..16])?, number(&date[17..19])?];
    // A leap second is the first second of the next minute, as POSIX counts.
    let in_calendar = year >= 1
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_calendar {
        return None;
    }
    let (micros, rest) = fraction(rest)?;
    let offset_seconds = offset(rest)?;
    let seconds =
        days_from_civil(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second - offset_seconds;
    in_range(seconds * MICROS_PER_SECOND + micros)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => Some(value * 10 + i64::from(byte - b'0')),
        _ => None,
    })
}

/// Microseconds of `.123456789`, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let micros =
        (0..6).fold(0, |micros, place| micros * 10 + if place < digits { i64::from(text[place] - b'0') } else { 0 });
    Some((micros, &text[digits..]))
}

/// Seconds east of UTC of `Z`, `±HH:MM`, `±HHMM`, `±HH` or nothing.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, digits) = match text {
        b"" | b"Z" | b"z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [_, _, b':', _, _] => (number(&digits[..2])?, number(&digits[3..])?),
        [_, _, _, _] => (number(&digits[..2])?, number(&digits[2..])?),
        [_, _] => (number(digits)?, 0),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

/// Source: the same paper, `civil_from_days`.
impl From<Timestamp> for Civil {
    fn from(timestamp: Timestamp) -> Self {
        let seconds = timestamp.0.div_euclid(MICROS_PER_SECOND);
        let second_of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let days = seconds.div_euclid(SECONDS_PER_DAY) + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
            micros: timestamp.0.rem_euclid(MICROS_PER_SECOND),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_date_is_the_first_moment_of_its_day() {
        assert_eq!(Timestamp::parse_bound("2022-01-09"), Timestamp::parse("2022-01-09T00:00:00Z"));
        assert_eq!(Timestamp::parse_bound("2022-01-09T01:00:00Z"), Timestamp::parse("2022-01-09T01:00:00Z"));
        assert_eq!(Timestamp::parse_bound("1641719727"), Timestamp::parse("1641719727"));
        for none in ["2022-02-30", "2022-1-9", "20220109", "22-01-09T0", "-2022-01-0", ""] {
            assert_eq!(
                Timestamp::parse_bound(none).map(|at| at.to_string()),
                Timestamp::parse(none).map(|at| at.to_string()),
                "{none}"
            );
        }
        assert_eq!(Timestamp::parse("2022-01-09"), None, "an event's time has a time of day");
    }

    #[test]
    fn reads_what_clients_write() {
        for (text, written) in [
            ("2022-01-09 09:15:27.243860", "2022-01-09T09:15:27.243860Z"),
            ("2022-01-09T09:15:27Z", "2022-01-09T09:15:27.000000Z"),
            ("2022-01-09T09:15:27", "2022-01-09T09:15:27.000000Z"),
            ("2022-01-09T11:15:27.5+02:00", "2022-01-09T09:15:27.500000Z"),
            ("2022-01-09T09:15:27.243860999Z", "2022-01-09T09:15:27.243860Z"),
            ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000000Z"),
            ("1641719727", "2022-01-09T09:15:27.000000Z"),
            ("1641719727.24386", "2022-01-09T09:15:27.243860Z"),
            ("1641719727243", "2022-01-09T09:15:27.243000Z"),
            ("1641719727243860", "2022-01-09T09:15:27.243860Z"),
            ("1641719727243860999", "2022-01-09T09:15:27.243860Z"),
            ("-1", "1969-12-31T23:59:59.000000Z"),
            ("1.641719727e9", "2022-01-09T09:15:27.000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            assert_eq!(Timestamp::parse(text).map(|time| time.to_string()).as_deref(), Some(written), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            " ",
            "nonsense",
            "2022-13-09 09:15:27",
            "2022-02-30 09:15:27.243860",
            "2022-01-09",
            "NaN",
            "inf",
            "2022-01-09 24:00:00",
            "2022-01-09 09:15:27.",
            "2022-01-09 09:15:27.1234567890",
            "1e999",
            "--1",
            "--1e9",
            "-+1e9",
            "+1e9",
            "1.e9",
            ".1e9",
            "1e",
            "1.",
            "99999999999999999999",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2022-01-09T09:15:27+2:00",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_chrono(micros in MIN_MICROS..=MAX_MICROS) {
            let ours = Timestamp::from_micros(micros);
            let theirs = DateTime::from_timestamp_micros(micros).unwrap();
            prop_assert_eq!(ours.to_string(), theirs.to_rfc3339_opts(SecondsFormat::Micros, true));
            prop_assert_eq!(Timestamp::parse(&ours.to_string()), Some(ours));
            prop_assert_eq!(Timestamp::parse(&ours.to_seed_string()), Some(ours));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}
