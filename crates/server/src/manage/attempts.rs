//! How often a code or a password may be tried: a small bucket of attempts that fills again slowly.

use eye_event::Timestamp;
use parking_lot::Mutex;

use crate::error::{ApiError, ApiResult, Code};

/// Attempts that can be made at once.
const ATTEMPTS_MAX: u32 = 5;
/// How long it takes until one more is allowed.
const MICROS_PER_ATTEMPT: i64 = 10_000_000;

/// A bucket of attempts, shared by everybody who tries.
///
/// One bucket for all, not one per address: what is tried exists once, and addresses are cheap.
#[derive(Debug)]
pub(super) struct Attempts(Mutex<Bucket>);

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled_at: Timestamp,
}

impl Attempts {
    /// A full bucket.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Bucket { left: ATTEMPTS_MAX, filled_at: Timestamp::from_micros(0) }))
    }

    /// Takes one attempt, or says when there will be one.
    pub(super) fn take(&self, now: Timestamp) -> ApiResult<()> {
        let mut bucket = self.0.lock();
        bucket.fill(now);
        if bucket.left > 0 {
            bucket.left -= 1;
            return Ok(());
        }
        let waited = now.micros().saturating_sub(bucket.filled_at.micros());
        let micros = u64::try_from(MICROS_PER_ATTEMPT - waited).unwrap_or_default().max(1);
        let seconds = u32::try_from(micros.div_ceil(1_000_000)).unwrap_or(u32::MAX);
        let detail = format!("too many attempts: try again in {seconds} seconds");
        Err(ApiError::new(Code::TooManyAttempts, detail).retry_after(seconds))
    }
}

impl Bucket {
    fn fill(&mut self, now: Timestamp) {
        let waited = now.micros().saturating_sub(self.filled_at.micros()).max(0);
        let gained = waited / MICROS_PER_ATTEMPT;
        let left = i64::from(self.left).saturating_add(gained);
        if left >= i64::from(ATTEMPTS_MAX) {
            *self = Self { left: ATTEMPTS_MAX, filled_at: now };
        } else {
            self.left = u32::try_from(left).unwrap_or(ATTEMPTS_MAX);
            self.filled_at = Timestamp::from_micros(self.filled_at.micros() + gained * MICROS_PER_ATTEMPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_run_out_and_come_back_one_by_one() {
        let at = |seconds: i64| Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000);
        let attempts = Attempts::new();
        for _ in 0..ATTEMPTS_MAX {
            attempts.take(at(0)).unwrap();
        }
        let error = attempts.take(at(3)).unwrap_err();
        assert_eq!(error.code(), Code::TooManyAttempts);
        assert!(error.detail().contains("in 7 seconds"), "{}", error.detail());
        attempts.take(at(10)).unwrap();
        attempts.take(at(19)).unwrap_err();
        attempts.take(at(20)).unwrap();
        for _ in 0..ATTEMPTS_MAX {
            attempts.take(at(1_000)).unwrap();
        }
        attempts.take(at(1_000)).unwrap_err();
    }
}
