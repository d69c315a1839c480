//! The budget of bytes that all bodies share, and the error of a body above its own limit.
//!
//! What is charged is given back when its [`Charge`] is dropped, however a request ends. The rule: strangers, who have
//! not said who they are, never take more than their share of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{ApiError, ApiResult, Code};

/// Read at most for a stranger.
pub(super) const STRANGER_BYTES_MAX: usize = 1 << 20;
/// Strangers together get the budget divided by this. Their bodies are small and few: most clients have their token in
/// the header. Whatever strangers send, everybody else has seven eighths for themselves.
const STRANGERS_DIVISOR: usize = 8;

/// How many bytes of bodies may be in memory at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    all: Share,
    /// A part of `all`.
    strangers: Share,
}

#[derive(Debug)]
struct Share {
    used: AtomicUsize,
    max: usize,
}

impl Share {
    const fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// True if they fit, and are taken.
    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.max;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Bytes charged to the budget; given back when dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: BodyBudget,
    is_stranger: bool,
    bytes: usize,
}

impl BodyBudget {
    /// A budget of `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        let strangers = Share::new((max / STRANGERS_DIVISOR).max(STRANGER_BYTES_MAX));
        Self(Arc::new(Budget { all: Share::new(max), strangers }))
    }

    /// Bytes charged now.
    pub(crate) fn used(&self) -> usize {
        self.0.all.used.load(Ordering::Relaxed)
    }

    /// Charges bytes, if they fit.
    pub(crate) fn charge(&self, bytes: usize) -> ApiResult<Charge> {
        self.charge_for(false, bytes)
    }

    /// Charges bytes of a stranger, if they fit into the strangers' share too.
    pub(crate) fn charge_stranger(&self, bytes: usize) -> ApiResult<Charge> {
        self.charge_for(true, bytes)
    }

    fn charge_for(&self, is_stranger: bool, bytes: usize) -> ApiResult<Charge> {
        let mut charge = Charge { budget: self.clone(), is_stranger, bytes: 0 };
        charge.grow(bytes)?;
        Ok(charge)
    }
}

impl Charge {
    /// Charges more, if it fits.
    pub(crate) fn grow(&mut self, bytes: usize) -> ApiResult<()> {
        let Budget { all, strangers } = &*self.budget.0;
        // The strangers' share first: what is refused there takes no room from others, not even for a moment.
        if self.is_stranger && !strangers.take(bytes) {
            return Err(busy());
        }
        if !all.take(bytes) {
            if self.is_stranger {
                strangers.give_back(bytes);
            }
            return Err(busy());
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.0.all.give_back(bytes);
        if self.is_stranger {
            self.budget.0.strangers.give_back(bytes);
        }
        self.bytes -= bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

fn busy() -> ApiError {
    ApiError::new(Code::Busy, "too many bytes of requests are in flight: try again in a moment")
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

    #[test]
    fn strangers_have_a_share_and_give_it_back() {
        const MIB: usize = 1 << 20;
        let budget = BodyBudget::new(64 * MIB);
        let mut stranger = budget.charge_stranger(7 * MIB).unwrap();
        let another = budget.charge_stranger(MIB).unwrap();
        assert_eq!(stranger.grow(1).unwrap_err().code(), Code::Busy);
        assert_eq!(budget.charge_stranger(1).unwrap_err().code(), Code::Busy);
        assert_eq!(budget.used(), 8 * MIB, "what was refused is charged nowhere");
        let known = budget.charge(56 * MIB).unwrap();
        stranger.shrink(7 * MIB);
        drop(another);
        let rest = budget.charge(8 * MIB).unwrap();
        assert_eq!(budget.charge_stranger(MIB).unwrap_err().code(), Code::Busy, "the budget of all is used up");
        drop((known, rest));
        drop(budget.charge_stranger(8 * MIB).unwrap());
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn one_body_of_a_stranger_fits_into_the_smallest_share() {
        assert!(BodyBudget::new(STRANGER_BYTES_MAX).charge_stranger(STRANGER_BYTES_MAX).is_ok());
    }
}
