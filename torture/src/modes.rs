//! One file a kind of fault. A mode makes faults and counts; the oracle judges.

pub mod acks;
mod checkpoint;
pub mod clock;
pub mod cut;
pub mod full;
pub mod io;
pub mod kill;
pub mod points;
mod retention;
pub mod sabotage;
pub mod slow;
pub mod stop;
pub mod upkeep;

use std::time::{Duration, Instant};

/// True as soon as it holds, false if it does not for so long.
fn until(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > patience {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}
