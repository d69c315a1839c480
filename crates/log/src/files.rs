//! [`LogFile`]: a file of a log as it was at one moment, for a copy of the log.

use std::fmt;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::error::{Error, Result};

/// A file of a log, up to the last record that was durable when it was asked for.
///
/// It can be read for as long as it is held, whatever the log does meanwhile: appends go behind it, and a trim takes only
/// its name away.
#[derive(Clone)]
pub struct LogFile {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) file: Arc<dyn DiskFile>,
}

impl LogFile {
    /// Its name in the log's folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many of its bytes belong to the copy.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `bytes` from `position`. Nothing is verified: who copies all files checks the copy.
    ///
    /// # Errors
    /// `Io` if the operating system refused, or the file is shorter than what was durable.
    pub fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> Result<()> {
        let read = self.file.read_exact_at(bytes, position);
        read.map_err(|error| Error::io("read", self.name.as_ref(), &error))
    }
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogFile").field("name", &self.name).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
