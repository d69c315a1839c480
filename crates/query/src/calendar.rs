//! [`Calendar`]: a range of time cut into intervals, as people in a time zone see them.
//!
//! Days, weeks and months begin when the zone's clock first shows their date, so a day may have 23 or 25 hours. Minutes and
//! hours are 60 and 3,600 seconds, counted from the whole minute or hour of the zone's clock at the beginning of the
//! range. Zones are those of the IANA time zone database, which is built in.

use std::str::FromStr;

use eye_event::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::{Error, Result};

/// Intervals in one answer.
pub const INTERVALS_MAX: usize = 10_000;

/// How long an interval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// 60 seconds.
    Minute,
    /// 3,600 seconds.
    Hour,
    /// A date of the zone.
    Day,
    /// Seven dates of the zone.
    Week,
    /// A month of the zone.
    Month,
    /// The whole range.
    Whole,
}

impl Interval {
    /// Every interval, the shortest first.
    pub const ALL: [Self; 6] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Whole];

    /// As the API spells it: what [`FromStr`] reads.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Whole => "whole",
        }
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|interval| interval.as_str() == text).ok_or_else(|| {
            Error::invalid("interval", "interval is none of these: minute, hour, day, week, month, whole")
        })
    }
}

/// On which day weeks begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WeekStart {
    /// ISO 8601's.
    #[default]
    Monday,
    /// North America's.
    Sunday,
    /// Much of the Middle East's.
    Saturday,
}

impl WeekStart {
    const fn weekday(self) -> Weekday {
        match self {
            Self::Monday => Weekday::Monday,
            Self::Sunday => Weekday::Sunday,
            Self::Saturday => Weekday::Saturday,
        }
    }
}

/// How time is cut, and whose clock says so.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) interval: Interval,
    pub(crate) week_start: WeekStart,
    pub(crate) zone: TimeZone,
}

impl Cut {
    /// # Errors
    /// `Invalid` for a zone that is not in the database.
    pub(crate) fn new(interval: Interval, week_start: WeekStart, zone: &str) -> Result<Self> {
        let zone = TimeZone::get(zone).map_err(|_| {
            let message = format!("time_zone {zone:?} is not in the IANA database: send a name such as Europe/Berlin");
            Error::invalid("time_zone", message)
        })?;
        Ok(Self { interval, week_start, zone })
    }

    /// The moment at which the interval of this moment begins.
    fn floor(&self, at: Timestamp) -> Result<Timestamp> {
        let zoned = moment(at)?.to_zoned(self.zone.clone());
        let date = zoned.date();
        match self.interval {
            Interval::Whole => Ok(at),
            Interval::Minute | Interval::Hour => {
                let time = zoned.time();
                let minutes = if self.interval == Interval::Hour { i64::from(time.minute()) } else { 0 };
                let micros = (minutes * 60 + i64::from(time.second())) * 1_000_000
                    + i64::from(time.subsec_nanosecond()).div_euclid(1_000);
                Ok(Timestamp::from_micros(at.micros() - micros))
            }
            Interval::Day => self.begin(date),
            Interval::Week => {
                let back = date.weekday().since(self.week_start.weekday());
                self.begin(date.checked_sub(i64::from(back).days()).map_err(out_of_range)?)
            }
            Interval::Month => self.begin(date.first_of_month()),
        }
    }

    /// The moment at which the interval after the one that begins here begins.
    fn next(&self, at: Timestamp) -> Result<Timestamp> {
        let plus = |micros: i64| Ok(Timestamp::from_micros(at.micros() + micros));
        let date_plus = |span: Span| {
            let date = moment(at)?.to_zoned(self.zone.clone()).date();
            self.begin(date.checked_add(span).map_err(out_of_range)?)
        };
        match self.interval {
            Interval::Minute => plus(60_000_000),
            Interval::Hour => plus(3_600_000_000),
            Interval::Day => date_plus(1.day()),
            Interval::Week => date_plus(7.days()),
            Interval::Month => date_plus(1.month()),
            Interval::Whole => Ok(Timestamp::from_micros(i64::MAX)),
        }
    }

    /// When the zone's clock first shows this date. Where midnight is skipped, that is the moment after the gap.
    fn begin(&self, date: Date) -> Result<Timestamp> {
        let zoned = date.to_zoned(self.zone.clone()).map_err(out_of_range)?;
        Ok(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
    }
}

fn moment(at: Timestamp) -> Result<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(at.micros()).map_err(out_of_range)
}

fn out_of_range(_: jiff::Error) -> Error {
    Error::invalid("from", "the range of time leaves the years -9999 to 9999: send from and to inside them")
}

/// A range, cut.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    /// When each interval begins; the first may begin before the range.
    starts: Vec<i64>,
    from: i64,
    to: i64,
}

impl Calendar {
    /// The intervals that `[from, to)` touches.
    ///
    /// # Errors
    /// `Invalid` for an empty range, or one of more than [`INTERVALS_MAX`] intervals.
    pub(crate) fn new(cut: &Cut, from: Timestamp, to: Timestamp) -> Result<Self> {
        if from >= to {
            return Err(Error::invalid("from", format!("from ({from}) is not before to ({to}): send an earlier one")));
        }
        let mut starts = Vec::new();
        let mut start = cut.floor(from)?;
        while start < to {
            if starts.len() == INTERVALS_MAX {
                let message = format!(
                    "{from} to {to} has more than {INTERVALS_MAX} intervals of a {}: send a longer interval, or a shorter range",
                    cut.interval.as_str()
                );
                return Err(Error::invalid("interval", message));
            }
            starts.push(start.micros());
            start = cut.next(start)?;
        }
        Ok(Self { starts, from: from.micros(), to: to.micros() })
    }

    /// How many intervals there are.
    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// The range that was cut.
    pub(crate) fn range(&self) -> (Timestamp, Timestamp) {
        (Timestamp::from_micros(self.from), Timestamp::from_micros(self.to))
    }

    /// When each begins.
    pub(crate) fn starts(&self) -> Vec<Timestamp> {
        self.starts.iter().copied().map(Timestamp::from_micros).collect()
    }

    /// From when to before when an interval is, as far as it lies in the range.
    pub(crate) fn span(&self, place: usize) -> std::ops::Range<i64> {
        let start = self.starts.get(place).map_or(self.from, |start| self.from.max(*start));
        start..self.starts.get(place + 1).map_or(self.to, |next| self.to.min(*next))
    }

    /// The interval that all moments between these, both inclusive, lie in; `None` if there are several, or some lie outside the
    /// range.
    pub(crate) fn only(&self, (earliest, latest): (Timestamp, Timestamp)) -> Option<usize> {
        let place = self.place(earliest.micros())?;
        self.span(place).contains(&latest.micros()).then_some(place)
    }

    /// The interval of a moment inside the range.
    #[inline]
    pub(crate) fn place(&self, micros: i64) -> Option<usize> {
        if micros < self.from || micros >= self.to {
            return None;
        }
        let (first, count) = (*self.starts.first()?, self.starts.len());
        // Intervals are nearly of one length: guess, then step to the right one.
        let length = (self.to - first) / i64::try_from(count).ok()?;
        let guess = usize::try_from((micros - first) / length.max(1)).ok()?;
        let mut place = guess.min(count - 1);
        while place > 0 && self.starts[place] > micros {
            place -= 1;
        }
        while place + 1 < count && self.starts[place + 1] <= micros {
            place += 1;
        }
        Some(place)
    }
}

/// The intervals of rows, one after the other.
pub(crate) struct Cutter<'p> {
    calendar: &'p Calendar,
    times: &'p [i64],
    /// The interval of all rows, if there is but one: then there need be no times.
    only: Option<usize>,
    /// The interval of the row before: rows of a session are neighbours, and mostly lie in one.
    last: (std::ops::Range<i64>, usize),
}

impl<'p> Cutter<'p> {
    /// Of rows with these times, which lie between those, both inclusive.
    pub(crate) fn new(calendar: &'p Calendar, times: &'p [i64], between: (Timestamp, Timestamp)) -> Self {
        Self { calendar, times, only: calendar.only(between), last: (0..0, 0) }
    }

    /// True if all rows lie in one interval.
    pub(crate) fn is_one(&self) -> bool {
        self.only.is_some()
    }

    /// The interval of a row; `None` if it lies outside the range.
    #[inline]
    pub(crate) fn interval(&mut self, row: usize) -> Option<usize> {
        if self.only.is_some() {
            return self.only;
        }
        let time = self.times[row];
        if !self.last.0.contains(&time) {
            let place = self.calendar.place(time)?;
            self.last = (self.calendar.span(place), place);
        }
        Some(self.last.1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_bound(text).unwrap()
    }

    fn starts(interval: Interval, zone: &str, from: &str, to: &str) -> Vec<String> {
        let cut = Cut::new(interval, WeekStart::Monday, zone).unwrap();
        Calendar::new(&cut, at(from), at(to)).unwrap().starts().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn days_have_the_hours_of_their_zone() {
        // Berlin's clocks go forward on 29 March 2026, and back on 25 October.
        let days = starts(Interval::Day, "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T12:00:00Z");
        assert_eq!(days, ["2026-03-27T23:00:00.000000Z", "2026-03-28T23:00:00.000000Z", "2026-03-29T22:00:00.000000Z"]);
        let days = starts(Interval::Day, "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-26T00:00:00Z");
        assert_eq!(days, ["2026-10-24T22:00:00.000000Z", "2026-10-25T23:00:00.000000Z"]);
        // In Beirut midnight was skipped: the day begins at one o'clock.
        let days = starts(Interval::Day, "Asia/Beirut", "2022-03-26T12:00:00Z", "2022-03-27T12:00:00Z");
        assert_eq!(days, ["2022-03-25T22:00:00.000000Z", "2022-03-26T22:00:00.000000Z"]);
    }

    #[test]
    fn weeks_and_months_begin_where_people_say() {
        let weeks = starts(Interval::Week, "UTC", "2026-11-25T00:00:00Z", "2026-12-01T00:00:00Z");
        assert_eq!(weeks, ["2026-11-23T00:00:00.000000Z", "2026-11-30T00:00:00.000000Z"]);
        let cut = Cut::new(Interval::Week, WeekStart::Sunday, "UTC").unwrap();
        assert_eq!(cut.floor(at("2026-11-25T00:00:00Z")).unwrap(), at("2026-11-22T00:00:00Z"));
        assert_eq!(cut.floor(at("2026-11-22T00:00:00Z")).unwrap(), at("2026-11-22T00:00:00Z"));
        let months = starts(Interval::Month, "America/New_York", "2026-01-31T12:00:00Z", "2026-03-01T05:00:00Z");
        assert_eq!(months, ["2026-01-01T05:00:00.000000Z", "2026-02-01T05:00:00.000000Z"]);
    }

    #[test]
    fn hours_follow_the_clock_of_the_zone() {
        let hours = starts(Interval::Hour, "Asia/Kolkata", "2026-01-01T00:10:00Z", "2026-01-01T01:00:00Z");
        assert_eq!(hours, ["2025-12-31T23:30:00.000000Z", "2026-01-01T00:30:00.000000Z"]);
    }

    #[test]
    fn what_cannot_be_cut_is_refused_by_name() {
        let refuse = |interval, zone: &str, from: &str, to: &str| -> (&'static str, String) {
            let cut = Cut::new(interval, WeekStart::Monday, zone);
            match cut.and_then(|cut| Calendar::new(&cut, at(from), at(to))).unwrap_err() {
                Error::Invalid { field, message } => (field, message),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refuse(Interval::Day, "Berlin", "2026-01-01", "2026-01-02").0, "time_zone");
        assert_eq!(refuse(Interval::Day, "UTC", "2026-01-02", "2026-01-02").0, "from");
        let (field, message) = refuse(Interval::Minute, "UTC", "2020-01-01", "2026-01-02");
        assert_eq!(field, "interval");
        assert!(message.contains("more than 10000 intervals"), "{message}");
    }

    proptest! {
        #[test]
        fn every_moment_has_the_interval_that_begins_last(
            micros in 0_i64..20_000_000_000_000,
            interval in proptest::sample::select(&Interval::ALL[1..]),
            zone in proptest::sample::select(&["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Beirut"][..]),
        ) {
            let from = at("2026-02-20T10:11:12Z");
            let cut = Cut::new(interval, WeekStart::Monday, zone).unwrap();
            let to = Timestamp::from_micros(from.micros() + 20_000_000_000_000);
            let calendar = Calendar::new(&cut, from, to).unwrap();
            let micros = from.micros() + micros;
            let place = calendar.place(micros).unwrap();
            prop_assert_eq!(place, calendar.starts.partition_point(|start| *start <= micros) - 1);
            let span = calendar.span(place);
            prop_assert!(span.contains(&micros));
            prop_assert_eq!([calendar.place(span.start), calendar.place(span.end - 1)], [Some(place); 2]);
            prop_assert_eq!(calendar.place(to.micros()), None);
            prop_assert_eq!(calendar.place(from.micros() - 1), None);
        }
    }
}
