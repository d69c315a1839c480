//! [`Series`]: the values of a breakdown that were seen, as numbers.

use std::cmp::Ordering;

use ahash::AHashMap;

use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{Frame, Place, Texts};
use crate::names::Names;

use super::Figure;

/// Different values, or pairs of them, in one breakdown.
const SERIES_MAX: usize = 100_000;
/// No value.
const ABSENT: u32 = 0;

/// The series of a breakdown: numbers of values, one for each field.
#[derive(Default)]
pub(super) struct Series {
    fields: usize,
    names: Names,
    /// The values of each series: [`ABSENT`], or one more than the number of the text.
    values: Vec<[u32; 2]>,
    places: AHashMap<[u32; 2], usize>,
    /// Of one field: the series of each value, by its number.
    by_value: Vec<Option<usize>>,
    /// The series of the row before.
    last: Option<([u32; 2], usize)>,
}

/// One field of the breakdown in one frame.
pub(super) struct Column<'f> {
    place: Place<'f>,
    /// Of a column with numbers for texts the value of each, as far as they are known.
    coded: Vec<Option<u32>>,
    /// The same of the series, if it is the only column.
    series: Vec<Option<usize>>,
}

impl Column<'_> {
    /// How many numbers its texts have.
    pub(super) fn texts(&self) -> usize {
        self.coded.len()
    }
}

impl Series {
    pub(super) fn new(fields: usize) -> Self {
        Self { fields, ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Reads a frame's columns for this breakdown.
    pub(super) fn columns<'f>(frame: &'f Frame, fields: &'f [Field]) -> Vec<Column<'f>> {
        let column = |field: &'f Field| {
            let place = frame.place(field);
            let codes = place.texts().codes();
            Column { place, coded: vec![None; codes], series: vec![None; if fields.len() == 1 { codes } else { 0 }] }
        };
        fields.iter().map(column).collect()
    }

    /// The numbers of a column's texts, row by row, if it is the only one and has numbers.
    pub(super) fn numbers<'f>(columns: &[Column<'f>]) -> Option<&'f [i32]> {
        let [column] = columns else { return None };
        let texts = column.place.texts();
        matches!(texts, Texts::Coded(..)).then(|| texts.numbers())
    }

    fn value(&mut self, text: Option<&str>) -> u32 {
        text.map_or(ABSENT, |text| self.names.number(text) + 1)
    }

    /// The series of a row.
    #[inline]
    pub(super) fn place(&mut self, columns: &mut [Column<'_>], row: usize) -> Result<usize> {
        if let ([], Some((_, only))) = (&columns, self.last) {
            return Ok(only);
        }
        let [column] = columns else { return self.look_up(columns, row) };
        let code = column.place.texts().code(row).filter(|code| *code < column.series.len());
        let Some(code) = code else { return self.look_up(columns, row) };
        if let Some(known) = column.series[code] {
            return Ok(known);
        }
        let found = self.look_up(columns, row)?;
        columns[0].series[code] = Some(found);
        Ok(found)
    }

    fn look_up(&mut self, columns: &mut [Column<'_>], row: usize) -> Result<usize> {
        let mut values = [ABSENT; 2];
        for (value, column) in values.iter_mut().zip(columns) {
            let place = column.place;
            let mut read = || self.value(place.texts().get(row).and_then(|text| place.value(text)).as_deref());
            *value = match place.texts().code(row).and_then(|code| column.coded.get_mut(code)) {
                Some(known) => *known.get_or_insert_with(read),
                None => read(),
            };
        }
        if self.fields == 1
            && let Some(Some(place)) = self.by_value.get(values[0] as usize)
        {
            return Ok(*place);
        }
        match self.last {
            Some((last, place)) if last == values => Ok(place),
            _ => self.place_of(values),
        }
    }

    fn place_of(&mut self, values: [u32; 2]) -> Result<usize> {
        let next = self.values.len();
        let place = *self.places.entry(values).or_insert(next);
        if place == next {
            if next == SERIES_MAX || self.names.len() > 2 * SERIES_MAX {
                let message = format!(
                    "the breakdown has more than {SERIES_MAX} values: narrow the query, or take a field with fewer values"
                );
                return Err(Error::TooMuch { message });
            }
            self.values.push(values);
        }
        if self.fields == 1 {
            let value = values[0] as usize;
            self.by_value.resize(self.by_value.len().max(value + 1), None);
            self.by_value[value] = Some(place);
        }
        self.last = Some((values, place));
        Ok(place)
    }

    /// Takes another's series; says where each of them is now.
    pub(super) fn merge(&mut self, other: &Self) -> Result<Vec<usize>> {
        let mut places = Vec::with_capacity(other.len());
        for values in &other.values {
            let values = values.map(|value| self.value(other.text(value)));
            places.push(self.place_of(values)?);
        }
        Ok(places)
    }

    fn text(&self, value: u32) -> Option<&str> {
        value.checked_sub(1).map(|number| self.names.text(number))
    }

    fn texts(&self, place: usize) -> [Option<&str>; 2] {
        self.values.get(place).map_or([None; 2], |values| values.map(|value| self.text(value)))
    }

    /// The series with the largest totals, the largest first; of equal ones by their values.
    pub(super) fn top(&self, totals: &[Figure], count: usize) -> Vec<usize> {
        let total = |place: usize| totals.get(place).map_or(f64::NEG_INFINITY, |total| total.order());
        let order = |one: &usize, other: &usize| -> Ordering {
            total(*other).total_cmp(&total(*one)).then_with(|| self.texts(*one).cmp(&self.texts(*other)))
        };
        let mut places: Vec<usize> = (0..self.len()).collect();
        places.sort_unstable_by(order);
        places.truncate(count);
        places
    }

    /// The values of these series.
    pub(super) fn values(&self, places: &[usize]) -> Vec<Vec<Option<String>>> {
        let owned =
            |place: &usize| self.texts(*place)[..self.fields].iter().map(|text| text.map(str::to_owned)).collect();
        places.iter().map(owned).collect()
    }

    /// Where the series that stand at `shown` in another are here.
    pub(super) fn places(&self, other: &Self, shown: &[usize]) -> Vec<Option<usize>> {
        let find = |place: &usize| {
            let texts = other.texts(*place);
            (0..self.len()).find(|mine| self.texts(*mine) == texts)
        };
        shown.iter().map(find).collect()
    }
}
