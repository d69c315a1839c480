//! [`Runs`]: whose rows of a slice stand together. Rows of a slice stand in session order, so sessions, and mostly users,
//! are runs of rows.
//!
//! Who only counts or compares ids needs no texts: an id is a *key*, a hash of 128 bits under a key of its own
//! (SipHash-1-3, <https://www.aumasson.jp/siphash/>) that is new for every process. Of a billion ids two are taken for one
//! once in 10^20 times, and nobody can make it happen. Runs are kept between questions, within a limit, those used last.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayAccessor, AsArray as _, StringArray};
use parking_lot::Mutex;
use siphasher::sip128::{Hash128, Hasher128 as _, SipHasher13};

use super::extra;
use super::version::TableFile;
use crate::columns::{Columns, required, text_column};
use crate::error::Result;

/// The key of an id.
pub type IdKey = u128;

/// The key of rows without an id.
pub const NOBODY: IdKey = 0;

/// The key of an id: the same as long as the process runs, and of no use to another one.
#[must_use]
pub fn id_key(id: &str) -> IdKey {
    static SECRET: LazyLock<(u64, u64)> = LazyLock::new(|| {
        let random = || RandomState::new().build_hasher().finish();
        (random(), random())
    });
    let mut hasher = SipHasher13::new_with_keys(SECRET.0, SECRET.1);
    hasher.write(id.as_bytes());
    let Hash128 { h1, h2 } = hasher.finish128();
    // Never that of nobody.
    (u128::from(h1) << 64 | u128::from(h2)).max(1)
}

/// The rows of a slice as runs of rows with the same id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    /// The first row of each.
    starts: Vec<u32>,
    /// Whose they are.
    keys: Vec<IdKey>,
    rows: u32,
}

impl Runs {
    /// Those of the ids of all rows, in order.
    #[must_use]
    pub fn of<'t>(ids: impl Iterator<Item = Option<&'t str>>) -> Self {
        let mut runs = Self::default();
        let mut before = None;
        for id in ids {
            if before != Some(id) {
                runs.begin(id);
                before = Some(id);
            }
            runs.rows += 1;
        }
        // They may be kept for long.
        runs.starts.shrink_to_fit();
        runs.keys.shrink_to_fit();
        runs
    }

    fn of_array<'t>(ids: impl ArrayAccessor<Item = &'t str>) -> Self {
        Self::of((0..ids.len()).map(|row| ids.is_valid(row).then(|| ids.value(row))))
    }

    /// Those that the column of their first rows says.
    fn of_firsts(column: &str, firsts: &StringArray) -> std::result::Result<Self, String> {
        let mut runs = Self { rows: u32::try_from(firsts.len()).unwrap_or(u32::MAX), ..Self::default() };
        let firsts = extra::runs_of(column, firsts)?;
        (runs.starts, runs.keys) = (Vec::with_capacity(firsts.len()), Vec::with_capacity(firsts.len()));
        for (row, id) in firsts {
            runs.starts.push(u32::try_from(row).unwrap_or(u32::MAX));
            runs.keys.push(id.map_or(NOBODY, id_key));
        }
        Ok(runs)
    }

    fn begin(&mut self, id: Option<&str>) {
        self.starts.push(self.rows);
        self.keys.push(id.map_or(NOBODY, id_key));
    }

    /// How many runs there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose the runs are, in order; neighbours differ, and [`NOBODY`] is among them.
    #[must_use]
    pub fn keys(&self) -> &[IdKey] {
        &self.keys
    }

    /// The runs in order: their rows, and whose they are.
    pub fn iter(&self) -> impl Iterator<Item = (Range<usize>, IdKey)> {
        let ends = self.starts.iter().skip(1).copied().chain([self.rows]);
        let rows = self.starts.iter().zip(ends).map(|(start, end)| *start as usize..end as usize);
        rows.zip(self.keys.iter().copied())
    }

    /// What they take in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.keys.capacity() * size_of::<IdKey>() + self.starts.capacity() * size_of::<u32>() + size_of::<Self>()
    }
}

/// Which slice of which file, and which id.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    path: String,
    row_group: usize,
    column: Columns,
}

/// The runs that one table keeps.
pub(crate) struct KeptRuns {
    bytes_max: usize,
    runs: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// With when each was used last.
    runs: HashMap<Key, (u64, Arc<Runs>), ahash::RandomState>,
    bytes: usize,
    uses: u64,
}

impl KeptRuns {
    /// None yet, and never more bytes than this.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, runs: Mutex::default() }
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) {
        *self.runs.lock() = Used::default();
    }

    fn get(&self, key: &Key) -> Option<Arc<Runs>> {
        let Used { runs, uses, .. } = &mut *self.runs.lock();
        *uses += 1;
        let (used, found) = runs.get_mut(key)?;
        *used = *uses;
        Some(Arc::clone(found))
    }

    fn keep(&self, key: Key, new: Arc<Runs>) {
        let Used { runs, bytes, uses } = &mut *self.runs.lock();
        if new.bytes() > self.bytes_max {
            return;
        }
        *bytes += new.bytes();
        if let Some((_, old)) = runs.insert(key, (*uses, new)) {
            *bytes -= old.bytes();
        }
        while *bytes > self.bytes_max {
            let oldest = runs.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            let Some((_, old)) = oldest.and_then(|key| runs.remove(&key)) else { return };
            *bytes -= old.bytes();
        }
    }
}

impl TableFile {
    /// The runs of an id column of one slice.
    ///
    /// # Errors
    /// As [`TableFile::read`].
    pub fn runs(&self, row_group: usize, column: Columns) -> Result<Arc<Runs>> {
        let key = Key { path: self.path.as_str().to_owned(), row_group, column };
        if let Some(runs) = self.io.runs.get(&key) {
            return Ok(runs);
        }
        let runs = Arc::new(self.read_runs(row_group, column)?);
        self.io.runs.keep(key, Arc::clone(&runs));
        Ok(runs)
    }

    fn read_runs(&self, row_group: usize, column: Columns) -> Result<Runs> {
        let name = column.names().next().unwrap_or_default();
        if let Some(firsts) = self.read_firsts(row_group, name)? {
            return Runs::of_firsts(name, &firsts).map_err(|why| self.damaged(&why));
        }
        let batch = self.read_coded(row_group, column, &[])?;
        // A file of another program may lack a column that is null in all rows.
        let Some(ids) = batch.column_by_name(name) else {
            return Ok(Runs::of(std::iter::repeat_n(None, self.row_group(row_group)?.rows)));
        };
        Ok(match ids.as_string_view_opt() {
            Some(ids) => Runs::of_array(ids),
            None => Runs::of_array(required(text_column(&batch, name)?, name)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_one_id_are_one_run() {
        let runs = Runs::of([Some("a"), Some("a"), None, None, Some(""), Some("a")].into_iter());
        let found: Vec<_> = runs.iter().collect();
        assert_eq!(found, [(0..2, id_key("a")), (2..4, NOBODY), (4..5, id_key("")), (5..6, id_key("a"))]);
        assert!(id_key("a") != id_key("b") && id_key("") != NOBODY);
        assert_eq!((Runs::of(std::iter::empty()).len(), Runs::of(std::iter::empty()).iter().count()), (0, 0));
    }

    #[test]
    fn runs_used_last_are_kept_within_the_limit() {
        let runs = |ids: usize| {
            let ids: Vec<String> = (0..ids).map(|id| id.to_string()).collect();
            Arc::new(Runs::of(ids.iter().map(|id| Some(id.as_str()))))
        };
        let key = |row_group| Key { path: "f".to_owned(), row_group, column: Columns::SESSION_ID };
        let one = runs(100).bytes();
        let kept = KeptRuns::new(2 * one);
        let is_kept = |row_group| kept.get(&key(row_group)).is_some();
        kept.keep(key(0), runs(100));
        kept.keep(key(1), runs(100));
        kept.keep(key(1), runs(100));
        assert!(is_kept(1) && is_kept(0), "the same twice takes the room of one");
        kept.keep(key(2), runs(100));
        assert!(is_kept(0) && is_kept(2) && !is_kept(1), "1 was used longest ago");
        kept.keep(key(3), runs(1_000));
        assert!(!is_kept(3) && is_kept(0), "what is larger than the limit pushes nothing out");
        kept.clear();
        assert!(!is_kept(0) && !is_kept(2));
    }
}
