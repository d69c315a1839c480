//! [`Reads`]: what a question reads of each row.
//!
//! A value inside `data` is asked for by its path, not as a column: where a file has it in a column of its own, the payload
//! is not read at all.

use std::ops::BitOr;

use eye_store::Columns;

use crate::field::Field;

/// Columns, and values inside `data` by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    columns: Columns,
    paths: Vec<Vec<String>>,
}

impl Reads {
    /// The value of a field.
    #[must_use]
    pub fn field(field: &Field) -> Self {
        match field {
            Field::Data(path) => Self { columns: Columns::NONE, paths: vec![path.clone()] },
            field => field.column().into(),
        }
    }

    /// The columns that are read whole.
    #[must_use]
    pub fn columns(&self) -> Columns {
        self.columns
    }

    /// The paths of the values inside `data`, none twice.
    #[must_use]
    pub fn paths(&self) -> &[Vec<String>] {
        &self.paths
    }

    /// The columns that all of it is in: `data` for values inside it.
    #[must_use]
    pub fn in_columns(&self) -> Columns {
        if self.paths.is_empty() { self.columns } else { self.columns | Columns::DATA }
    }
}

impl From<Columns> for Reads {
    fn from(columns: Columns) -> Self {
        Self { columns, paths: Vec::new() }
    }
}

impl<R: Into<Self>> BitOr<R> for Reads {
    type Output = Self;

    fn bitor(mut self, other: R) -> Self {
        let other = other.into();
        self.columns = self.columns | other.columns;
        for path in other.paths {
            if !self.paths.contains(&path) {
                self.paths.push(path);
            }
        }
        self
    }
}
