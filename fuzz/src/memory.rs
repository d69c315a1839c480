//! How much memory a piece of work took at most: the allocator counts.

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Does the work; panics if it needed more than `bytes_max` at any moment (what C libraries allocate is not counted).
pub fn within<T>(bytes_max: usize, work: impl FnOnce() -> T) -> T {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    let used = MEMORY.peak_usage().saturating_sub(before);
    assert!(used <= bytes_max, "it took {used} bytes of memory, {bytes_max} are allowed");
    result
}
