//! What steps show, as numbers: 0 is nothing, and each text has its own from 1 on.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{Frame, Place};
use crate::names::Names;

/// How many different values the steps of one question may show.
pub const PATHS_LABELS_MAX: usize = 100_000;
/// Bytes of a value that are looked at. Longer values with the same beginning are the same.
pub const PATHS_LABEL_BYTES_MAX: usize = 1_024;

/// The number of what an event shows.
pub(super) type Label = u32;

/// The values seen so far.
#[derive(Default)]
pub(super) struct Labels {
    names: Names,
}

impl Labels {
    /// The text of a number.
    pub(super) fn text(&self, label: Label) -> Option<&str> {
        label.checked_sub(1).map(|number| self.names.text(number))
    }

    /// # Errors
    /// `TooMuch`, if there are too many.
    pub(super) fn checked(&self) -> Result<()> {
        if self.names.len() <= PATHS_LABELS_MAX {
            return Ok(());
        }
        let message = format!(
            "the steps show more than {PATHS_LABELS_MAX} different values: choose another step, or filter further"
        );
        Err(Error::TooMuch { message })
    }

    /// Takes the values of others, and says which numbers theirs have here.
    pub(super) fn merge(&mut self, other: &Self) -> Vec<Label> {
        let numbers = 0..=Label::try_from(other.names.len()).unwrap_or(Label::MAX);
        numbers.map(|label| self.number(other.text(label))).collect()
    }

    fn number(&mut self, text: Option<&str>) -> Label {
        text.map_or(0, |text| self.names.number(cut(text)).saturating_add(1))
    }
}

/// The beginning of a text, whole characters only.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(PATHS_LABEL_BYTES_MAX)]
}

/// What the rows of one frame show. Of a column with few texts each is numbered once, when a row first shows it.
pub(super) struct Reader<'f> {
    place: Place<'f>,
    by_code: Vec<Option<Label>>,
}

impl<'f> Reader<'f> {
    pub(super) fn new(frame: &'f Frame, field: &'f Field) -> Self {
        let place = frame.place(field);
        Self { place, by_code: vec![None; place.texts().codes()] }
    }

    pub(super) fn label(&mut self, labels: &mut Labels, row: usize) -> Label {
        let (place, code) = (self.place, self.place.texts().code(row));
        if let Some(label) = code.and_then(|code| *self.by_code.get(code)?) {
            return label;
        }
        let value: Option<Cow<'_, str>> = place.texts().get(row).and_then(|text| place.value(text));
        let label = labels.number(value.as_deref());
        if let Some(known) = code.and_then(|code| self.by_code.get_mut(code)) {
            *known = Some(label);
        }
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_texts_when_they_are_merged() {
        let (mut all, mut other) = (Labels::default(), Labels::default());
        let numbers = [Some("x"), None, Some("y"), Some("")].map(|text| all.number(text));
        assert_eq!(numbers, [1, 0, 2, 3]);
        for text in ["z", "y"] {
            other.number(Some(text));
        }
        let moved = all.merge(&other);
        let texts: Vec<_> = moved.iter().map(|label| all.text(*label)).collect();
        assert_eq!(texts, [None, Some("z"), Some("y")]);
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut labels = Labels::default();
        let long = "x".repeat(PATHS_LABEL_BYTES_MAX - 1) + "é";
        let label = labels.number(Some(&long));
        assert_eq!(labels.text(label).map(str::len), Some(PATHS_LABEL_BYTES_MAX - 1));
    }
}
