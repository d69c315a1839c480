//! Whether the clock is believed before something goes because of its age.
//!
//! To a clock that runs ahead everything is old, and what goes does not come back. So the store's own threads believe
//! it only if one of two witnesses says the same: rows of the tables that were received between a day and eight days
//! before now, or the monotonic clock, beside which this process has seen it go for a whole day. Rows that a clock
//! stamped which was set back later are no witnesses; and none are heard within a day after this process has seen the clock
//! leap further than they reach, for it may have leapt there before.
//!
//! What remains: a clock that is wrong by up to eight days, or for longer than a day, or in the same way at start after
//! start, is believed. And what an operator asks for is done by the clock as it is.

use std::cmp::Reverse;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use eye_event::Timestamp;
use eye_log::{Offset, PartitionId};
use parking_lot::Mutex;

use crate::error::{Error, Kind};
use crate::store::Shared;
use crate::table::TableFile;

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;
/// A row that was received so long ago is a witness.
const WITNESS_AGE_MICROS: RangeInclusive<i64> = DAY_MICROS..=8 * DAY_MICROS;
/// Two clocks that are so far apart at most go together: they are set right now and then.
const APART_MAX_MICROS: i64 = HOUR_MICROS;

/// How the wall clock has gone beside the monotonic one since the store was opened.
#[derive(Debug)]
pub(crate) struct Clock {
    opened: Instant,
    anchor: Mutex<Anchor>,
}

/// The moment since which the two have gone together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    /// By the monotonic clock, since the opening.
    at: Duration,
    wall: Timestamp,
    /// It began with a leap that is longer than rows reach.
    is_far: bool,
}

impl Clock {
    /// The store is opened now, and this is what the wall clock says.
    pub(crate) fn new(wall: Timestamp) -> Self {
        Self { opened: Instant::now(), anchor: Mutex::new(Anchor { at: Duration::ZERO, wall, is_far: false }) }
    }

    /// True if the wall clock, which says this now, has gone beside the monotonic one for a whole day; and whether rows are
    /// heard if it has not.
    fn has_gone_along(&self, wall: Timestamp) -> (bool, bool) {
        let mut anchor = self.anchor.lock();
        (anchor.holds(self.opened.elapsed(), wall), !anchor.is_far)
    }
}

impl Anchor {
    /// True if it has held for a whole day. It is set anew if it does not hold any more.
    fn holds(&mut self, at: Duration, wall: Timestamp) -> bool {
        let passed = i64::try_from(at.saturating_sub(self.at).as_micros()).unwrap_or(i64::MAX);
        let by_wall = wall.micros().saturating_sub(self.wall.micros());
        let apart = by_wall.saturating_sub(passed).saturating_abs();
        if apart > APART_MAX_MICROS {
            let has_held = passed >= DAY_MICROS;
            let is_far = apart > *WITNESS_AGE_MICROS.end() || self.is_far && !has_held;
            *self = Self { at, wall, is_far };
            return false;
        }
        passed >= DAY_MICROS
    }
}

/// When the rows of a file were received, and where the last of them stands.
#[derive(Clone, Copy, Debug)]
struct Rows {
    partition: PartitionId,
    last: Offset,
    received_min: Timestamp,
    received_max: Timestamp,
}

/// What the rows of the tables say of a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Testimony {
    /// Some were received between a day and eight days before it.
    confirms: bool,
    /// When the newest were received that are older than a day.
    newest: Option<Timestamp>,
}

impl Rows {
    fn of(file: &TableFile) -> Self {
        let (received_min, received_max) = (file.received_min, file.received_max);
        Self { partition: file.partition, last: file.offset_max, received_min, received_max }
    }
}

impl Testimony {
    fn of(mut all: Vec<Rows>, now: Timestamp) -> Self {
        let mut found = Self::default();
        all.sort_by_key(|rows| (rows.partition, Reverse(rows.last)));
        for newest_first in all.chunk_by(|one, other| one.partition == other.partition) {
            let mut received_after = i64::MAX;
            for rows in newest_first {
                let was_ahead = rows.received_min.micros() > received_after.saturating_add(APART_MAX_MICROS);
                received_after = received_after.min(rows.received_max.micros());
                if was_ahead {
                    continue;
                }
                for at in [rows.received_min, rows.received_max] {
                    let age = now.micros().saturating_sub(at.micros());
                    found.confirms |= WITNESS_AGE_MICROS.contains(&age);
                    found.newest = found.newest.max((age >= DAY_MICROS).then_some(at));
                }
            }
        }
        found
    }
}

impl Shared {
    /// Why the clock, which says this now, is not believed; `None` if it is.
    pub(crate) fn doubt(&self, now: Timestamp) -> Option<Error> {
        let (has_gone_along, rows_are_heard) = self.clock.has_gone_along(now);
        let (events, rejections) = (self.events.current(), self.rejections.current());
        let rows = events.files.iter().chain(&rejections.files).map(|file| Rows::of(file)).collect();
        let Testimony { confirms, newest } = Testimony::of(rows, now);
        if has_gone_along || rows_are_heard && confirms {
            return None;
        }
        let rows = match newest {
            Some(newest) => format!("the newest rows that are older than a day were received at {newest}"),
            None => "no rows are older than a day".to_owned(),
        };
        let detail = format!(
            "the clock says {now}, and {rows}: nothing goes because of its age until the clock has said so for a day"
        );
        Some(Error::new(Kind::Unavailable, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 20_780 * DAY_MICROS;
    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn at(days: i64, hours: i64) -> Timestamp {
        Timestamp::from_micros(NOW + days * DAY_MICROS + hours * HOUR_MICROS)
    }

    fn anchor() -> Anchor {
        Anchor { at: Duration::ZERO, wall: at(0, 0), is_far: false }
    }

    #[test]
    fn rows_are_not_heard_for_a_day_after_a_leap_that_is_longer_than_they_reach() {
        let is_far_after = |leaps: &[(u32, i64)]| {
            let (mut anchor, mut ahead) = (anchor(), 0);
            for (hours, leap) in leaps {
                ahead += leap;
                anchor.holds(HOUR * *hours, at(0, i64::from(*hours) + ahead));
            }
            anchor.is_far
        };
        const YEARS: i64 = 24 * 3653;
        assert!(!is_far_after(&[(1, 0)]) && !is_far_after(&[(1, 2), (2, -24 * 7)]), "it was no longer than they reach");
        assert!(is_far_after(&[(1, YEARS)]) && is_far_after(&[(1, -YEARS)]));
        assert!(is_far_after(&[(1, YEARS), (2, -YEARS)]), "it was set back");
        assert!(is_far_after(&[(1, YEARS), (2, 3)]), "a small one more says nothing");
        assert!(!is_far_after(&[(1, YEARS), (25, 0), (26, 3)]), "it has said so for a day");
        assert!(is_far_after(&[(1, YEARS), (2, -YEARS), (60, YEARS)]), "it leaps to where it was before");
    }

    #[test]
    fn a_clock_is_believed_when_it_has_gone_for_a_day() {
        let mut anchor = anchor();
        for hours in 0..24_u32 {
            assert!(!anchor.holds(HOUR * hours, at(0, i64::from(hours))), "after {hours} hours");
        }
        assert!(anchor.holds(HOUR * 24, at(1, 0)));
        assert!(anchor.holds(HOUR * 24 * 400, at(400, 1)), "an hour in a year is nothing");
    }

    #[test]
    fn a_clock_that_leaps_is_believed_a_day_later() {
        for leap in [2, 24, 24 * 3653, -2, -24 * 3653] {
            let mut anchor = anchor();
            assert!(anchor.holds(HOUR * 48, at(2, 0)));
            assert!(!anchor.holds(HOUR * 49, at(2, 1 + leap)), "{leap} hours");
            assert!(!anchor.holds(HOUR * 72, at(3, leap)), "{leap} hours, and it has said so for 23");
            let (mut stays, mut goes_back) = (anchor, anchor);
            assert!(stays.holds(HOUR * 73, at(3, 1 + leap)), "{leap} hours, and it has said so for a day");
            assert!(!goes_back.holds(HOUR * 73, at(3, 1)), "it is right again");
            assert!(!goes_back.holds(HOUR * 96, at(4, 0)));
            assert!(goes_back.holds(HOUR * 97, at(4, 1)));
        }
    }

    #[test]
    fn a_clock_is_not_believed_after_a_sleep_in_which_the_other_stood_still() {
        let mut anchor = anchor();
        assert!(!anchor.holds(HOUR * 23, at(3, 0)));
        assert!(!anchor.holds(HOUR * 46, at(3, 23)));
        assert!(anchor.holds(HOUR * 47, at(4, 0)));
    }

    fn rows(last: u64, received_min: Timestamp, received_max: Timestamp) -> Rows {
        Rows { partition: PartitionId(0), last: Offset(last), received_min, received_max }
    }

    #[test]
    fn rows_of_a_day_to_eight_days_ago_confirm_a_clock() {
        let confirms = |days, hours| {
            let received = at(days, hours);
            let found = Testimony::of(vec![rows(1, received, received)], at(0, 0));
            assert_eq!(found.newest, (received <= at(-1, 0)).then_some(received));
            found.confirms
        };
        assert!(!confirms(1, 0), "they are of a clock that was ahead");
        assert!(!confirms(0, 0) && !confirms(0, -23));
        assert!(confirms(-1, 0) && confirms(-2, 0) && confirms(-8, 0));
        assert!(!confirms(-8, -1) && !confirms(-3653, 0));
        let of_a_day = Testimony::of(vec![rows(1, at(-1, -10), at(-1, 10))], at(0, 0));
        assert_eq!(of_a_day, Testimony { confirms: true, newest: Some(at(-1, -10)) });
        assert_eq!(Testimony::of(Vec::new(), at(0, 0)), Testimony::default());
    }

    #[test]
    fn rows_of_a_clock_that_was_set_back_confirm_nothing() {
        // It says year after year at each start, for an hour, that it is ten years later.
        let ahead = rows(200, at(3653, 0), at(3653, 1));
        let now = at(3658, 0);
        assert!(Testimony::of(vec![ahead], now).confirms, "nothing says that it was set back");
        let before = rows(100, at(-1, 0), at(0, 0));
        assert!(Testimony::of(vec![before, ahead], now).confirms);
        let after = rows(300, at(0, 1), at(0, 2));
        let found = Testimony::of(vec![before, ahead, after], now);
        assert_eq!(found, Testimony { confirms: false, newest: Some(at(0, 2)) });
        // The rows before and after were merged.
        let around = rows(300, at(0, 0), at(0, 2));
        assert!(!Testimony::of(vec![around, ahead], now).confirms);
        let elsewhere = Rows { partition: PartitionId(1), ..after };
        assert!(
            Testimony::of(vec![elsewhere, ahead], now).confirms,
            "offsets of two partitions say nothing of each other"
        );
        let late = rows(300, at(3652, 23), at(3653, 0));
        assert!(Testimony::of(vec![ahead, late], now).confirms, "a little out of order is nothing");
    }
}
