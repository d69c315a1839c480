//! What happened in a run, line by line, and its hash: two runs of one seed have the same.

/// The lines, and their hash so far (FNV-1a 64).
#[derive(Clone, Debug)]
pub struct Trace {
    lines: Vec<String>,
    hash: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { lines: Vec::new(), hash: 0xcbf2_9ce4_8422_2325 }
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
