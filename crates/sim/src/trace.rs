//! What happened in a run, line by line, and its hash: two runs of one seed have the same.

use std::collections::BTreeMap;

/// The lines, and their hash so far (FNV-1a 64).
#[derive(Clone, Debug)]
pub struct Trace {
    lines: Vec<String>,
    hash: u64,
    faults: Faults,
}

/// The faults of runs, by kind. One that nothing meets tests nothing.
pub type Faults = BTreeMap<String, Met>;

/// How often a fault of one kind was prepared, and how often something then met it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Prepared.
    pub armed: u64,
    /// Met.
    pub met: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { lines: Vec::new(), hash: 0xcbf2_9ce4_8422_2325, faults: Faults::new() }
    }
}

impl Trace {
    /// Adds a line.
    pub fn push(&mut self, line: String) {
        self.hash = line
            .bytes()
            .chain([b'\n'])
            .fold(self.hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        self.lines.push(line);
    }

    /// Adds a fault that was prepared, and whether something has met it.
    pub fn fault(&mut self, kind: String, is_met: bool) {
        self.push(format!("  {kind}: {}", if is_met { "met" } else { "not met" }));
        let Met { armed, met } = self.faults.entry(kind).or_default();
        *armed += 1;
        *met += u64::from(is_met);
    }

    /// All faults.
    #[must_use]
    pub const fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The hash of all lines.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
}
