//! Two hundred seeds, in parts that run side by side; the seeds that failed once; and the same seed twice.

use eye_sim::{REGRESSIONS, STEPS, run, run_with};

fn seeds(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(failure) = run(seed, STEPS) {
            panic!("{failure}");
        }
    }
}

macro_rules! parts {
    ($($name:ident: $from:literal,)+) => {
        $(#[test] fn $name() { seeds($from..$from + 25); })+
    };
}

parts! {
    seeds_from_0: 0,
    seeds_from_25: 25,
    seeds_from_50: 50,
    seeds_from_75: 75,
    seeds_from_100: 100,
    seeds_from_125: 125,
    seeds_from_150: 150,
    seeds_from_175: 175,
}

#[test]
fn seeds_that_failed_once() {
    for seed in REGRESSIONS {
        if let Err(failure) = run_with(*seed, STEPS, false) {
            panic!("without compactions: {failure}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1000..1008 {
        let traces = [(), ()].map(|()| run(seed, STEPS).unwrap_or_else(|failure| panic!("{failure}")));
        let [first, second] = traces;
        let differs = first.lines().iter().zip(second.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(first.hash(), second.hash(), "seed {seed}");
    }
}

#[test]
fn other_seeds_give_other_traces() {
    let hash = |seed| run(seed, 10).unwrap_or_else(|failure| panic!("{failure}")).hash();
    assert_ne!(hash(1), hash(2));
}
