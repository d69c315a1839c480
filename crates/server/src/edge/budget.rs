//! The budget of bytes that all bodies share, and the error of a body above its own limit.
//!
//! What is charged is given back when its [`Charge`] is dropped, however a request ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{ApiError, ApiResult, Code};

/// How many bytes of bodies may be in memory at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    used: AtomicUsize,
    max: usize,
}

/// Bytes charged to the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: BodyBudget,
    bytes: usize,
}

impl BodyBudget {
    /// A budget of `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self(Arc::new(Budget { used: AtomicUsize::new(0), max }))
    }

    /// Bytes charged now.
    pub(crate) fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Charges bytes, if they fit.
    pub(crate) fn charge(&self, bytes: usize) -> ApiResult<Charge> {
        let mut charge = Charge { budget: self.clone(), bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }
}

impl Charge {
    /// Charges more, if it fits.
    pub(crate) fn grow(&mut self, bytes: usize) -> ApiResult<()> {
        let budget = &self.budget.0;
        let before = budget.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > budget.max {
            budget.used.fetch_sub(bytes, Ordering::Relaxed);
            let detail = "too many bytes of requests are in flight: try again in a moment";
            return Err(ApiError::new(Code::Busy, detail));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

/// The error for a body above its limit.
pub(crate) fn too_large(bytes_max: usize) -> ApiError {
    let detail = format!("the body is larger than {bytes_max} bytes after decompression: send fewer events at a time");
    ApiError::new(Code::BodyTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_never_exceeded_and_always_given_back() {
        let budget = BodyBudget::new(100);
        let mut first = budget.charge(60).unwrap();
        assert_eq!(budget.charge(50).unwrap_err().code(), Code::Busy);
        assert_eq!(budget.used(), 60);
        first.grow(40).unwrap();
        assert!(first.grow(1).is_err());
        first.shrink(30);
        let second = budget.charge(30).unwrap();
        assert_eq!(budget.used(), 100);
        drop(first);
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
