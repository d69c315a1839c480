//! The queue of a window's entries, in chunks: growing moves nothing, and what is popped is given back soon.

use std::collections::VecDeque;

use super::id::Id;

/// Entries of a chunk: 128 KiB.
const CHUNK: usize = 4096;

/// One stored event, as the window remembers it.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    pub(super) session: u32,
    /// Seconds since 1970, cut to 32 bits for its size; good until 2106.
    pub(super) received_s: u32,
    pub(super) id: Id,
}

/// Entries in the order of arrival. Places before `skipped` and after the last entry are vacant.
#[derive(Debug, Default)]
pub(super) struct Entries {
    chunks: VecDeque<Box<[Entry]>>,
    /// Vacant places at the beginning of the first chunk.
    skipped: usize,
    len: usize,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory held, in bytes, without what ids hold.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK * size_of::<Entry>()
    }

    /// The entry at `index`, below the length.
    pub(super) fn get(&self, index: usize) -> &Entry {
        let place = self.skipped + index;
        &self.chunks[place / CHUNK][place % CHUNK]
    }

    pub(super) fn front(&self) -> Option<&Entry> {
        (self.len > 0).then(|| self.get(0))
    }

    pub(super) fn back(&self) -> Option<&Entry> {
        self.len.checked_sub(1).map(|last| self.get(last))
    }

    pub(super) fn push_back(&mut self, entry: Entry) {
        let place = self.skipped + self.len;
        if place / CHUNK == self.chunks.len() {
            self.chunks.push_back(vacant());
        }
        self.chunks[place / CHUNK][place % CHUNK] = entry;
        self.len += 1;
    }

    pub(super) fn push_front(&mut self, entry: Entry) {
        if self.skipped == 0 {
            self.chunks.push_front(vacant());
            self.skipped = CHUNK;
        }
        self.skipped -= 1;
        self.chunks[0][self.skipped] = entry;
        self.len += 1;
    }

    pub(super) fn pop_front(&mut self) -> Option<Entry> {
        self.len = self.len.checked_sub(1)?;
        let entry = std::mem::take(&mut self.chunks[0][self.skipped]);
        self.skipped += 1;
        if self.skipped == CHUNK {
            self.chunks.pop_front();
            self.skipped = 0;
        }
        Some(entry)
    }
}

fn vacant() -> Box<[Entry]> {
    vec![Entry::default(); CHUNK].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Action {
        Back(usize),
        Front(usize),
        Pop(usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        let times = || 1..2 * CHUNK;
        prop_oneof![times().prop_map(Action::Back), times().prop_map(Action::Front), times().prop_map(Action::Pop)]
    }

    fn act(action: Action, entries: &mut Entries, model: &mut VecDeque<u32>, number: u32) {
        let entry = Entry { session: number, ..Entry::default() };
        match action {
            Action::Back(_) => {
                entries.push_back(entry);
                model.push_back(number);
            }
            Action::Front(_) => {
                entries.push_front(entry);
                model.push_front(number);
            }
            Action::Pop(_) => assert_eq!(entries.pop_front().map(|entry| entry.session), model.pop_front()),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        #[test]
        fn it_is_a_queue(actions in proptest::collection::vec(action(), 1..12)) {
            let (mut entries, mut model, mut number) = (Entries::default(), VecDeque::new(), 0);
            for action in actions {
                let (Action::Back(times) | Action::Front(times) | Action::Pop(times)) = action;
                for _ in 0..times {
                    number += 1;
                    act(action, &mut entries, &mut model, number);
                }
                prop_assert_eq!(entries.len(), model.len());
                prop_assert_eq!(entries.front().map(|entry| entry.session), model.front().copied());
                prop_assert_eq!(entries.back().map(|entry| entry.session), model.back().copied());
                let all: Vec<_> = (0..entries.len()).map(|index| entries.get(index).session).collect();
                prop_assert!(all.iter().eq(model.iter()));
                prop_assert!(entries.chunks.len() <= model.len() / CHUNK + 2);
            }
        }
    }
}
