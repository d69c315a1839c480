//! [`Values`]: what the funnel is broken down by, as numbers.
//!
//! Each thread numbers the texts as it meets them; at the end the threads' numbers become one numbering. No answer depends
//! on a number: wherever an order is needed, it is that of the texts.

use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{Frame, Place};
use crate::funnel::{FUNNEL_VALUES_BYTES_MAX, FUNNEL_VALUES_MAX};
use crate::names::Names;

/// The number of no value at all.
pub(super) const NO_VALUE: u32 = u32::MAX;

/// Distinct values as numbers.
#[derive(Default)]
pub(super) struct Values {
    names: Names,
    bytes: usize,
}

impl Values {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The text with this number; `None` for [`NO_VALUE`].
    pub(super) fn text(&self, number: u32) -> Option<&str> {
        (number != NO_VALUE).then(|| self.names.text(number))
    }

    fn number(&mut self, text: &str) -> u32 {
        let before = self.names.len();
        let number = self.names.number(text);
        if self.names.len() > before {
            self.bytes += text.len();
        }
        number
    }

    /// Takes another thread's values: what their numbers are here.
    pub(super) fn merge(&mut self, other: &Self) -> Result<Vec<u32>> {
        let numbers = (0..).take(other.len()).map(|number| self.number(other.names.text(number))).collect();
        self.check()?;
        Ok(numbers)
    }

    /// # Errors
    /// `TooMuch`, if a limit is met. As the threads' values are put together, it does not matter which thread met which.
    pub(super) fn check(&self) -> Result<()> {
        let limit = if self.names.len() > FUNNEL_VALUES_MAX {
            format!("more than {FUNNEL_VALUES_MAX} distinct values")
        } else if self.bytes > FUNNEL_VALUES_BYTES_MAX {
            format!("distinct values of more than {FUNNEL_VALUES_BYTES_MAX} bytes")
        } else {
            return Ok(());
        };
        let message = format!(
            "the breakdown has {limit} at the first step: \
             break down by a field with fewer, narrow the time range with from and to, or filter"
        );
        Err(Error::TooMuch { message })
    }
}

/// The values of one frame's rows.
pub(super) struct FrameValues<'a> {
    place: Place<'a>,
    /// The numbers of a column with few texts, as far as they are known.
    known: Vec<Option<u32>>,
}

impl<'a> FrameValues<'a> {
    pub(super) fn new(field: &'a Field, frame: &'a Frame) -> Self {
        let place = frame.place(field);
        Self { place, known: vec![None; place.texts().codes()] }
    }

    /// The number of a row's value.
    pub(super) fn number(&mut self, row: usize, values: &mut Values) -> u32 {
        let place = self.place;
        let mut read = || {
            let value = place.texts().get(row).and_then(|text| place.value(text));
            value.map_or(NO_VALUE, |value| values.number(&value))
        };
        match place.texts().code(row).and_then(|code| self.known.get_mut(code)) {
            Some(known) => *known.get_or_insert_with(read),
            None => read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: usize, text: impl Fn(usize) -> String) -> Values {
        let mut values = Values::default();
        for number in 0..count {
            values.number(&text(number));
        }
        values
    }

    #[test]
    fn threads_together_meet_the_limits_that_none_of_them_does() {
        let half = FUNNEL_VALUES_MAX / 2;
        let (mut all, same) =
            (numbered(half, |number| format!("a{number}")), numbered(half, |number| format!("a{number}")));
        let (other, one_more) = (numbered(half, |number| format!("b{number}")), numbered(1, |_| "c".into()));
        assert_eq!(all.merge(&same).unwrap().last().copied().map(|number| number as usize), Some(half - 1));
        assert_eq!(all.merge(&other).unwrap()[0] as usize, half);
        assert!(matches!(all.merge(&one_more), Err(Error::TooMuch { message }) if message.contains("100000 distinct")));
    }

    #[test]
    fn long_values_are_limited_by_their_bytes() {
        let long = "x".repeat((1 << 20) - 4);
        let mut all = numbered(FUNNEL_VALUES_BYTES_MAX >> 20, |number| format!("{number:4}{long}"));
        all.check().unwrap();
        let one_more = numbered(1, |_| "one more".into());
        assert!(matches!(all.merge(&one_more), Err(Error::TooMuch { message }) if message.contains("67108864 bytes")));
    }
}
