//! Panics of a library on bytes that others wrote, as errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    /// True while what panics on this thread is heard by [`contained`].
    static IS_CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Does the work. A panic is its error, and nothing else is said of it; what the work was changing must not be used again.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_CONTAINED.get() {
                loud(panic);
            }
        }));
    });
    IS_CONTAINED.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    IS_CONTAINED.set(false);
    done.unwrap_or_else(|panic| Err(format!("it is damaged, or of a kind that cannot be read: {}", message(&*panic))))
}

/// What it says, on one line.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason is given");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_what_comes_later_is_not_contained() {
        let error = contained::<()>(|| panic!("two\n  lines")).unwrap_err();
        assert!(error.ends_with("read: two lines"), "{error}");
        let error = contained::<()>(|| panic!("it is {}", 7)).unwrap_err();
        assert!(error.ends_with("it is 7"), "{error}");
        assert_eq!(contained(|| Ok(1)), Ok(1));
        assert_eq!(contained::<()>(|| Err("no".to_owned())), Err("no".to_owned()));
        assert!(!IS_CONTAINED.get());
    }
}
