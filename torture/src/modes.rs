//! One file a kind of fault. A mode makes faults and counts; the oracle judges.

pub mod acks;
mod checkpoint;
pub mod clock;
pub mod cut;
pub mod full;
pub mod io;
pub mod kill;
pub mod points;
pub mod sabotage;
pub mod slow;
pub mod stop;
pub mod upkeep;
