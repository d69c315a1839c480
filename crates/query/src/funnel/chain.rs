//! The counted chain of one unit, in one pass over its events.
//!
//! For each depth the pass keeps the latest chain: the one whose last event is latest. An event of step *k* makes the
//! latest chain of depth *k* − 1 longer by one, if that began within the window. Longer chains are tried first, so no event
//! is two steps of one chain. The chain that first reaches the greatest depth is counted.
//!
//! Why that is right: a chain of depth *k* that ends later was made of a chain of depth *k* − 1 that ends no earlier, so by
//! induction its every step is no earlier. The latest chain therefore has the latest beginning. If that is outside the
//! window, so are all others; if it is inside, each of its steps is the latest possible.

use crate::funnel::FUNNEL_STEPS_MAX;
use crate::funnel::matches::{Kept, Steps};

/// What a chain must keep to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How many steps there are.
    pub(super) steps: usize,
    /// Microseconds from the first event to the last.
    pub(super) window: Option<i64>,
    /// True if each event is the very next one.
    pub(super) is_strict: bool,
}

/// Finds chains; keeps its memory from one unit to the next.
#[derive(Default)]
pub(super) struct Finder {
    links: Vec<Link>,
    chain: Vec<usize>,
}

/// An event of a chain, and the link before it.
#[derive(Clone, Copy)]
struct Link {
    event: usize,
    before: Option<usize>,
}

/// The latest chain of one depth.
#[derive(Clone, Copy, Default)]
struct Latest {
    /// When its first event occurred.
    start: i64,
    /// Its last event.
    last: usize,
    /// Its last link.
    link: usize,
}

impl Finder {
    /// Which of the events, which are in order, are the counted chain; none if no event is the first step.
    pub(super) fn find(&mut self, rules: Rules, events: &[Kept]) -> &[usize] {
        self.chain.clear();
        let mut link = self.deepest(rules, events);
        while let Some(Link { event, before }) = link.and_then(|link| self.links.get(link)) {
            self.chain.push(*event);
            link = *before;
        }
        self.chain.reverse();
        &self.chain
    }

    /// The last link of the counted chain.
    fn deepest(&mut self, rules: Rules, events: &[Kept]) -> Option<usize> {
        self.links.clear();
        let mut latest = [Latest::default(); FUNNEL_STEPS_MAX];
        let (mut depth, mut deepest) = (0, None);
        for (number, event) in events.iter().enumerate() {
            let earliest = rules.window.map_or(i64::MIN, |window| event.timestamp.saturating_sub(window));
            // Only what makes a chain that is there longer, or begins one.
            let mut steps = event.steps & ((2 << depth) - 1);
            while let Some(step) = steps.checked_ilog2().map(|step| step as usize) {
                steps &= !((1 as Steps) << step);
                let (start, before) = match step.checked_sub(1) {
                    None => (event.timestamp, None),
                    Some(before) => {
                        let Latest { start, last, link } = latest[before];
                        if start < earliest || (rules.is_strict && last + 1 != number) {
                            continue;
                        }
                        (start, Some(link))
                    }
                };
                let link = self.links.len();
                self.links.push(Link { event: number, before });
                latest[step] = Latest { start, last: number, link };
                if step == depth {
                    (depth, deepest) = (depth + 1, Some(link));
                }
            }
            if depth == rules.steps {
                break;
            }
        }
        deepest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events at these times that match these steps, and the counted chain.
    fn find(steps: usize, window: Option<i64>, is_strict: bool, events: &[(i64, Steps)]) -> Vec<usize> {
        let kept = |(offset, (timestamp, steps)): (u64, &(i64, Steps))| Kept {
            timestamp: *timestamp,
            offset,
            value: 0,
            partition: 0,
            steps: *steps,
        };
        let events: Vec<Kept> = (0..).zip(events).map(kept).collect();
        Finder::default().find(Rules { steps, window, is_strict }, &events).to_vec()
    }

    #[test]
    fn the_latest_steps_before_the_first_end_are_counted() {
        let events = [(0, 1), (1, 2), (2, 1), (3, 2), (4, 2), (5, 4), (6, 4)];
        assert_eq!(find(3, None, false, &events), [2, 4, 5]);
        assert_eq!(find(2, None, false, &events), [0, 1]);
        assert_eq!(find(4, None, false, &events), [2, 4, 5]);
    }

    #[test]
    fn a_window_includes_its_end_and_looks_at_the_first_step() {
        let events = [(0, 1), (5, 2), (10, 4)];
        assert_eq!(find(3, Some(10), false, &events), [0, 1, 2]);
        assert_eq!(find(3, Some(9), false, &events), [0, 1]);
        assert_eq!(find(3, Some(4), false, &events), [0]);
        let edges = [(i64::MIN, 1), (i64::MAX, 2)];
        assert_eq!(find(2, None, false, &edges), [0, 1]);
        assert_eq!(find(2, Some(i64::MAX), false, &edges), [0]);
    }

    #[test]
    fn no_event_is_two_steps() {
        assert_eq!(find(3, None, false, &[(0, 7)]), [0]);
        assert_eq!(find(3, None, true, &[(0, 7), (0, 7)]), [0, 1]);
        assert_eq!(find(3, None, true, &[(0, 7), (0, 7), (0, 7), (0, 7)]), [0, 1, 2]);
    }

    #[test]
    fn a_strict_chain_has_nothing_in_between() {
        let events = [(0, 1), (1, 0), (2, 2), (3, 1), (4, 2), (5, 1), (6, 4)];
        assert_eq!(find(3, None, true, &events), [3, 4]);
        assert_eq!(find(3, None, false, &events), [3, 4, 6]);
        assert_eq!(find(2, None, true, &[(0, 2), (1, 0)]), [] as [usize; 0]);
    }

    #[test]
    fn twelve_steps_fit() {
        let events: Vec<(i64, Steps)> = (0..12).map(|step| (i64::from(step), 1 << step)).collect();
        assert_eq!(find(12, None, false, &events), (0..12).collect::<Vec<_>>());
    }
}
