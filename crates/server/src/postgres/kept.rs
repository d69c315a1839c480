//! What a connection keeps from message to message: prepared statements, and portals (statements with their values).
//!
//! The rule: a client can make the server keep `postgres_prepared_max` of each, and `postgres_prepared_bytes_max` of
//! both together. `pgwire` keeps whatever it is given; here it is counted under the same names, before it is given.

use std::collections::{HashMap, HashSet};

/// What one takes beside its texts, about.
const ENTRY_BYTES: usize = 256;
/// How often its name is written down: here, where it is looked up, and in itself.
const NAME_TIMES: usize = 3;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Statement,
    Portal,
}

/// How much of it there is.
pub(super) struct Kept {
    count_max: usize,
    bytes_max: usize,
    /// Bytes of each, by its name.
    statements: HashMap<String, usize>,
    portals: HashMap<String, usize>,
    /// Portals that hold rows for later.
    suspended: HashSet<String>,
    bytes: usize,
}

impl Kept {
    pub(super) fn new(count_max: usize, bytes_max: usize) -> Self {
        let (statements, portals, suspended) = (HashMap::new(), HashMap::new(), HashSet::new());
        Self { count_max, bytes_max, statements, portals, suspended, bytes: 0 }
    }

    /// Counts one of this name in place of an earlier one. If it is one too many, or too large, nothing changes.
    ///
    /// # Errors
    /// Which limit it would go beyond.
    pub(super) fn put(&mut self, kind: Kind, name: &str, bytes: usize) -> Result<(), String> {
        let Self { count_max, bytes_max, .. } = *self;
        let entries = self.entries(kind);
        let before = entries.get(name).copied();
        if before.is_none() && entries.len() >= count_max {
            let what = match kind {
                Kind::Statement => "prepared statements",
                Kind::Portal => "portals",
            };
            return Err(format!("this connection has {count_max} {what} (postgres_prepared_max): close some of them"));
        }
        let bytes = bytes.saturating_add(name.len().saturating_mul(NAME_TIMES)).saturating_add(ENTRY_BYTES);
        let total = self.bytes.saturating_sub(before.unwrap_or_default()).saturating_add(bytes);
        if total > bytes_max {
            return Err(format!(
                "the prepared statements and portals of this connection would take {total} bytes, and may take \
                 {bytes_max} (postgres_prepared_bytes_max): close some of them"
            ));
        }
        self.bytes = total;
        self.entries(kind).insert(name.to_owned(), bytes);
        if kind == Kind::Portal {
            self.suspended.remove(name);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str) {
        if let Some(bytes) = self.entries(kind).remove(name) {
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        if kind == Kind::Portal {
            self.suspended.remove(name);
        }
    }

    pub(super) fn clear_portals(&mut self) {
        let bytes: usize = self.portals.drain().map(|(_, bytes)| bytes).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        self.suspended.clear();
    }

    /// The names of all prepared statements.
    pub(super) fn statements(&self) -> Vec<String> {
        self.statements.keys().cloned().collect()
    }

    /// A portal holds rows for later.
    pub(super) fn suspend(&mut self, name: &str) {
        self.suspended.insert(name.to_owned());
    }

    /// What a portal held is taken up again.
    pub(super) fn take_up(&mut self, name: &str) {
        self.suspended.remove(name);
    }

    /// How many portals hold rows for later.
    pub(super) fn suspended(&self) -> usize {
        self.suspended.len()
    }

    fn entries(&mut self, kind: Kind) -> &mut HashMap<String, usize> {
        match kind {
            Kind::Statement => &mut self.statements,
            Kind::Portal => &mut self.portals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_an_end_in_number() {
        let mut kept = Kept::new(2, 1 << 20);
        for kind in [Kind::Statement, Kind::Portal] {
            kept.put(kind, "a", 1).unwrap();
            kept.put(kind, "b", 1).unwrap();
            let refused = kept.put(kind, "c", 1).unwrap_err();
            assert!(refused.contains("postgres_prepared_max"), "{refused}");
            // In place of another it is none more.
            kept.put(kind, "b", 2).unwrap();
            kept.remove(kind, "a");
            kept.put(kind, "c", 1).unwrap();
        }
        let mut names = kept.statements();
        names.sort_unstable();
        assert_eq!(names, ["b", "c"]);
    }

    #[test]
    fn what_is_kept_has_an_end_in_bytes_and_gives_them_back() {
        let one = ENTRY_BYTES + NAME_TIMES + 100;
        let mut kept = Kept::new(100, 2 * one);
        kept.put(Kind::Statement, "a", 100).unwrap();
        kept.put(Kind::Portal, "a", 100).unwrap();
        for (kind, name, bytes) in
            [(Kind::Portal, "b", 0), (Kind::Statement, "a", 101), (Kind::Portal, "a", usize::MAX)]
        {
            let refused = kept.put(kind, name, bytes).unwrap_err();
            assert!(refused.contains("postgres_prepared_bytes_max"), "{refused}");
            assert_eq!(kept.bytes, 2 * one);
        }
        kept.put(Kind::Statement, "a", 99).unwrap();
        assert_eq!(kept.bytes, 2 * one - 1);
        kept.clear_portals();
        assert_eq!(kept.bytes, one - 1);
        kept.remove(Kind::Statement, "a");
        kept.remove(Kind::Statement, "a");
        assert_eq!(kept.bytes, 0);
    }

    #[test]
    fn rows_for_later_are_held_until_they_are_taken_up_or_their_portal_goes() {
        let mut kept = Kept::new(10, 1 << 20);
        for name in ["a", "b", "c", "d"] {
            kept.put(Kind::Portal, name, 0).unwrap();
            kept.suspend(name);
        }
        kept.suspend("a");
        assert_eq!(kept.suspended(), 4);
        kept.take_up("a");
        kept.put(Kind::Portal, "b", 0).unwrap();
        kept.remove(Kind::Portal, "c");
        kept.remove(Kind::Statement, "d");
        assert_eq!(kept.suspended(), 1);
        kept.clear_portals();
        assert_eq!(kept.suspended(), 0);
    }
}
