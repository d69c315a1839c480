//! The exact window of event ids: (application, session_id, event_id) is stored once within it.
//!
//! Exact means that keys are compared, never their hashes alone: there is no false duplicate. What makes that affordable
//! is how keys are kept. Canonical UUIDs take 16 bytes, sessions are kept once and counted, and entries lie in one queue
//! in the order of arrival, so that forgetting is a pop. Nothing of it ever grows all at once: the queue grows by chunks,
//! and the hashes lie in many small tables, so that no event waits until millions of others are moved.
//!
//! The answer depends on the log alone: an event is a duplicate if an equal one was stored less than the window before
//! it, by their `received_at`. Replaying the log gives the same answers.

mod entries;
mod history;
mod id;

use std::hint::black_box;

use ahash::RandomState;
use eye_event::Timestamp;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;

use self::entries::{Entries, Entry};
pub use self::history::{DedupHistory, DedupRule};
use self::id::{Id, IdRef};

const MICROS_PER_SECOND: i64 = 1_000_000;
/// `received_at` of neighbours may be a little out of order; entries stay this much longer than the window.
const SLACK_SECONDS: i64 = 60;
/// Tables that share the hashes of ids.
const TABLES: usize = 64;

/// The 32 bits of a hash that are kept.
const fn short(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// A whole hash from the bits kept: the table takes its place from the low bits and its tag from the high ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Which of the tables has this hash.
const fn table_of(hash: u32) -> usize {
    hash as usize % TABLES
}

#[derive(Debug)]
struct Session {
    application: u32,
    id: Id,
    /// Entries that name it; at zero the place is free.
    entries: u32,
}

/// An identity, ready to be looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    application: u32,
    session: IdRef<'a>,
    event: IdRef<'a>,
    hash: u32,
}

/// The window. One per partition; a session lives in one partition, so that is enough.
#[derive(Debug)]
pub struct DedupWindow {
    window_seconds: i64,
    ids_max: usize,
    hasher: RandomState,
    applications: Vec<Box<str>>,
    sessions: Vec<Session>,
    free_sessions: Vec<u32>,
    /// The number of each session beside 32 bits of its hash.
    by_session: HashTable<(u32, u32)>,
    /// The session of the last event: the next one's, often.
    last_session: Option<u32>,
    entries: Entries,
    /// The number of the first entry; entries are numbered in the order of arrival, modulo 2^32.
    first_number: u32,
    /// The number of each entry beside 32 bits of its hash, so that growing touches no entry.
    by_id: Vec<HashTable<(u32, u32)>>,
    heap_bytes: usize,
    /// Ids forgotten before their time because of `ids_max`.
    forgotten_early: u64,
}

impl DedupWindow {
    /// An empty window of `window_micros`, of at most `ids_max` ids. At the limit the oldest ids are forgotten first and
    /// counted ([`DedupWindow::forgotten_early`]): the effective window is then shorter than the configured one.
    #[must_use]
    pub fn new(window_micros: i64, ids_max: usize) -> Self {
        Self {
            window_seconds: window_micros / MICROS_PER_SECOND,
            ids_max: ids_max.clamp(1, i32::MAX as usize),
            hasher: RandomState::new(),
            applications: Vec::new(),
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            by_session: HashTable::new(),
            last_session: None,
            entries: Entries::default(),
            first_number: 0,
            by_id: (0..TABLES).map(|_| HashTable::new()).collect(),
            heap_bytes: 0,
            forgotten_early: 0,
        }
    }

    /// True if the event is new; it is then kept. False if an equal one was stored within the window.
    pub fn insert(
        &mut self,
        application: &str,
        session_id: impl AsRef<[u8]>,
        event_id: impl AsRef<[u8]>,
        received_at: Timestamp,
    ) -> bool {
        let application = self.application(application);
        let key = self.key(application, session_id.as_ref(), event_id.as_ref());
        self.insert_key(&key, received_at)
    }

    /// The identity of an event of an application (see [`DedupWindow::application`]).
    pub(crate) fn key<'a>(&self, application: u32, session_id: &'a [u8], event_id: &'a [u8]) -> Key<'a> {
        let (session, event) = (IdRef::new(session_id), IdRef::new(event_id));
        let hash = short(self.hasher.hash_one((application, session, event)));
        Key { application, session, event, hash }
    }

    /// Has what inserting these looks at fetched from memory: side by side, for nothing else is done in between. One after
    /// the other, each would be waited for alone.
    pub(crate) fn fetch<'a>(&self, keys: impl Iterator<Item = &'a Key<'a>>) {
        let (mut last, mut found) = (None, false);
        for Key { application, session, hash, .. } in keys {
            found ^= self.by_id[table_of(*hash)].find(spread(*hash), |(_, known)| known == hash).is_some();
            // Neighbours are of one session, often.
            if last.replace((application, session)) != Some((application, session)) {
                let hash = self.session_hash(*application, *session);
                let number = self.by_session.find(spread(hash), |(_, known)| *known == hash);
                found ^= number.is_some_and(|(number, _)| self.sessions[*number as usize].application == *application);
            }
        }
        black_box(found);
    }

    fn session_hash(&self, application: u32, id: IdRef<'_>) -> u32 {
        short(self.hasher.hash_one((application, id)))
    }

    /// [`DedupWindow::insert`] of a key.
    pub(crate) fn insert_key(&mut self, key: &Key<'_>, received_at: Timestamp) -> bool {
        let received_s = received_at.micros().div_euclid(MICROS_PER_SECOND);
        self.forget_before(received_s - self.window_seconds - SLACK_SECONDS);
        let session = self.session(key.application, key.session);
        let hash = key.hash;
        let Self { by_id, entries, first_number, .. } = self;
        let known = |number: u32| entries.get(number.wrapping_sub(*first_number) as usize);
        let is_same = |(number, kept): &(u32, u32)| {
            *kept == hash && known(*number).session == session && key.event.is(&known(*number).id)
        };
        let slot = by_id[table_of(hash)].entry(spread(hash), is_same, |(_, kept)| spread(*kept));
        #[expect(clippy::cast_possible_truncation, reason = "numbers are modulo 2^32 by design")]
        let number = first_number.wrapping_add(entries.len() as u32);
        match slot {
            Slot::Occupied(mut slot) => {
                let age = received_s - i64::from(known(slot.get().0).received_s);
                if age < self.window_seconds {
                    return false;
                }
                // Outside the window: the new event takes its place, the old entry stays until it is popped.
                slot.get_mut().0 = number;
            }
            Slot::Vacant(slot) => drop(slot.insert((number, hash))),
        }
        let entry = self.keep(session, key.event, received_s);
        self.entries.push_back(entry);
        while self.entries.len() > self.ids_max {
            self.forgotten_early += 1;
            self.pop();
        }
        true
    }

    /// Takes in an id that was stored before this window was made. Ids may come in any order; those that come newest
    /// first are kept no longer than they must be. When the window is full it is counted as forgotten.
    pub fn recall(&mut self, application: &str, session_id: &str, event_id: &str, received_at: Timestamp) {
        if self.entries.len() >= self.ids_max {
            self.forgotten_early += 1;
            return;
        }
        let received_s = received_at.micros().div_euclid(MICROS_PER_SECOND);
        let application = self.application(application);
        let key = self.key(application, session_id.as_bytes(), event_id.as_bytes());
        let session = self.session(application, key.session);
        let (hash, first) = (key.hash, self.first_number);
        let Self { by_id, entries, .. } = self;
        let known = |number: u32| entries.get(number.wrapping_sub(first) as usize);
        let is_same = |(number, kept): &(u32, u32)| {
            *kept == hash && known(*number).session == session && key.event.is(&known(*number).id)
        };
        let number = first.wrapping_sub(1);
        match by_id[table_of(hash)].entry(spread(hash), is_same, |(_, kept)| spread(*kept)) {
            Slot::Occupied(mut slot) => {
                if i64::from(known(slot.get().0).received_s) >= received_s {
                    return;
                }
                slot.get_mut().0 = number;
            }
            Slot::Vacant(slot) => drop(slot.insert((number, hash))),
        }
        let entry = self.keep(session, key.event, received_s);
        self.entries.push_front(entry);
        self.first_number = number;
    }

    /// The entry of an id, counted.
    fn keep(&mut self, session: u32, id: IdRef<'_>, received_s: i64) -> Entry {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds fit until 2106")]
        let entry = Entry { session, received_s: received_s as u32, id: id.keep() };
        self.heap_bytes += entry.id.heap_bytes();
        self.sessions[session as usize].entries += 1;
        entry
    }

    /// Ids kept now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Memory held, in bytes, computed from capacities.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries.bytes()
            + self.sessions.capacity() * size_of::<Session>()
            + self.free_sessions.capacity() * size_of::<u32>()
            + self.by_id.iter().map(HashTable::allocation_size).sum::<usize>()
            + self.by_session.allocation_size()
            + self.heap_bytes
    }

    /// Ids forgotten before their time because of `ids_max`.
    #[must_use]
    pub fn forgotten_early(&self) -> u64 {
        self.forgotten_early
    }

    /// The window that is really covered, in seconds: the configured one, or less once ids were forgotten early.
    #[must_use]
    pub fn effective_seconds(&self) -> i64 {
        match (self.forgotten_early, self.entries.front(), self.entries.back()) {
            (1.., Some(first), Some(last)) => i64::from(last.received_s.saturating_sub(first.received_s)),
            _ => self.window_seconds,
        }
    }

    fn forget_before(&mut self, received_s: i64) {
        while self.entries.front().is_some_and(|entry| i64::from(entry.received_s) < received_s) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        let Session { application, id, .. } = &self.sessions[entry.session as usize];
        let hash = short(self.hasher.hash_one((*application, id.as_ref(), entry.id.as_ref())));
        let first = self.first_number;
        if let Ok(slot) = self.by_id[table_of(hash)].find_entry(spread(hash), |(number, _)| *number == first) {
            slot.remove();
        }
        self.heap_bytes -= entry.id.heap_bytes();
        self.first_number = first.wrapping_add(1);
        self.release(entry.session);
    }

    /// The number of this session, kept from now on.
    fn session(&mut self, application: u32, id: IdRef<'_>) -> u32 {
        let is_it = |session: &Session| session.application == application && id.is(&session.id);
        if let Some(last) = self.last_session.filter(|last| is_it(&self.sessions[*last as usize])) {
            return last;
        }
        let number = self.find_session(application, id);
        self.last_session = Some(number);
        number
    }

    fn find_session(&mut self, application: u32, id: IdRef<'_>) -> u32 {
        let hash = self.session_hash(application, id);
        let Self { by_session, sessions, free_sessions, .. } = self;
        let is_it = |(number, known): &(u32, u32)| {
            let session = &sessions[*number as usize];
            *known == hash && session.application == application && id.is(&session.id)
        };
        match by_session.entry(spread(hash), is_it, |(_, known)| spread(*known)) {
            Slot::Occupied(slot) => slot.get().0,
            Slot::Vacant(slot) => {
                #[expect(clippy::cast_possible_truncation, reason = "there are never more sessions than entries")]
                let number = free_sessions.pop().unwrap_or(sessions.len() as u32);
                slot.insert((number, hash));
                let session = Session { application, id: id.keep(), entries: 0 };
                self.heap_bytes += session.id.heap_bytes();
                match sessions.get_mut(number as usize) {
                    Some(free) => *free = session,
                    None => sessions.push(session),
                }
                number
            }
        }
    }

    /// One entry fewer names this session; the last one takes it along.
    fn release(&mut self, number: u32) {
        let session = &mut self.sessions[number as usize];
        session.entries -= 1;
        if session.entries > 0 {
            return;
        }
        let Session { application, id, .. } = &self.sessions[number as usize];
        let hash = self.session_hash(*application, id.as_ref());
        if let Ok(slot) = self.by_session.find_entry(spread(hash), |(found, _)| *found == number) {
            slot.remove();
        }
        let id = std::mem::take(&mut self.sessions[number as usize].id);
        self.heap_bytes -= id.heap_bytes();
        self.free_sessions.push(number);
        self.last_session = None;
    }

    /// The number of an application, kept from now on.
    pub(crate) fn application(&mut self, name: &str) -> u32 {
        let found = self.applications.iter().position(|known| known.as_ref() == name);
        let number = found.unwrap_or_else(|| {
            self.applications.push(name.into());
            self.applications.len() - 1
        });
        #[expect(clippy::cast_possible_truncation, reason = "a handful")]
        let number = number as u32;
        number
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;
    const UUID: &str = "bf428e1d-f221-55de-a77f-a61755a4d727";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + seconds * MICROS_PER_SECOND)
    }

    #[test]
    fn a_repeat_is_found_and_a_neighbour_is_not() {
        let mut window = DedupWindow::new(HOUR, 1000);
        assert!(window.insert("web", "s", "e", at(0)));
        assert!(!window.insert("web", "s", "e", at(1)));
        assert!(window.insert("app", "s", "e", at(1)), "another application");
        assert!(window.insert("web", "t", "e", at(1)), "another session");
        assert!(window.insert("web", "s", "f", at(1)), "another event");
    }

    #[test]
    fn ids_are_spread_over_the_tables_and_over_the_places_of_each() {
        let mut window = DedupWindow::new(HOUR, 10_000);
        for number in 0..6_400 {
            assert!(window.insert("web", "s", number.to_string(), at(0)));
        }
        assert!(window.by_id.iter().all(|table| (30..300).contains(&table.len())), "100 in each, by chance");
        let (mut places, mut tags) = (HashSet::new(), HashSet::new());
        for (_, hash) in window.by_id.iter().flatten() {
            places.insert(spread(*hash) % 1_024);
            tags.insert(spread(*hash) >> 57);
        }
        assert!(places.len() > 900 && tags.len() > 100, "{} places, {} tags", places.len(), tags.len());
    }

    #[test]
    fn uuids_are_equal_only_to_the_byte() {
        let mut window = DedupWindow::new(HOUR, 1000);
        assert!(window.insert("web", "s", "bf428e1d-f221-55de-a77f-a61755a4d727", at(0)));
        assert!(window.insert("web", "s", "BF428E1D-F221-55DE-A77F-A61755A4D727", at(0)));
        assert!(window.insert("web", "s", "bf428e1df22155dea77fa61755a4d727", at(0)));
        assert!(!window.insert("web", "s", "bf428e1d-f221-55de-a77f-a61755a4d727", at(0)));
    }

    #[test]
    fn after_the_window_an_id_is_new_again() {
        let mut window = DedupWindow::new(HOUR, 1000);
        assert!(window.insert("web", "s", "e", at(0)));
        assert!(!window.insert("web", "s", "e", at(3599)));
        assert!(window.insert("web", "s", "e", at(3600)));
        assert!(!window.insert("web", "s", "e", at(3601)), "counted from the newer one");
    }

    #[test]
    fn a_full_window_forgets_the_oldest_and_says_so() {
        let mut window = DedupWindow::new(HOUR, 2);
        for (second, id) in ["a", "b", "c"].into_iter().enumerate() {
            assert!(window.insert("web", "s", id, at(i64::try_from(second).unwrap())));
        }
        assert_eq!((window.len(), window.forgotten_early(), window.effective_seconds()), (2, 1, 1));
        assert!(!window.insert("web", "s", "c", at(3)));
        assert!(window.insert("web", "s", "a", at(3)));
    }

    #[test]
    fn memory_is_that_of_what_is_kept() {
        let mut window = DedupWindow::new(HOUR, 1000);
        assert!(window.is_empty() && window.effective_seconds() == 3600);
        for number in 0..5000 {
            assert!(window.insert("web", format!("session-{number:04}"), format!("event-{number:04}"), at(number)));
        }
        assert!(!window.is_empty());
        assert_eq!((window.len(), window.forgotten_early(), window.effective_seconds()), (1000, 4000, 999));
        assert_eq!(window.heap_bytes, 1000 * ("session-0000".len() + "event-0000".len()));
        let chunks = window.entries.bytes() / (4096 * size_of::<Entry>());
        assert_eq!(window.entries.bytes(), chunks * 4096 * size_of::<Entry>());
        assert!((1..=2).contains(&chunks), "{chunks} chunks");
        let tables = window.by_id.iter().map(HashTable::allocation_size).sum::<usize>();
        let parts = [
            window.entries.bytes(),
            window.sessions.capacity() * 32,
            window.free_sessions.capacity() * 4,
            tables,
            window.by_session.allocation_size(),
            window.heap_bytes,
        ];
        assert_eq!(size_of::<Session>(), 32);
        assert!(parts.iter().all(|part| *part > 0), "{parts:?}");
        assert_eq!(window.bytes(), parts.iter().sum::<usize>());
        // Far beyond the window: only the newest is left, a UUID, which takes nothing besides its place.
        assert!(window.insert("web", [b'0'; 36], UUID, at(100_000)));
        assert_eq!((window.len(), window.heap_bytes), (1, 36));
    }

    #[test]
    fn an_id_goes_when_the_window_and_a_minute_are_over() {
        let mut window = DedupWindow::new(HOUR, 1000);
        assert!(window.insert("web", "s", "e", at(0)));
        assert!(window.insert("web", "s", "f", at(3660)));
        assert_eq!(window.len(), 2);
        assert!(window.insert("web", "s", "g", at(3661)));
        assert_eq!(window.len(), 2, "the first has gone, with nothing after it");
    }

    #[test]
    fn nothing_is_kept_for_ever() {
        let mut window = DedupWindow::new(HOUR, 1000);
        for second in 0..100_000 {
            let session = format!("session-{}", second / 3);
            assert!(window.insert("web", &session, format!("event-{second}"), at(second * 60)));
        }
        assert!(window.len() < 70 && window.sessions.len() < 70, "{} ids", window.len());
        assert_eq!(window.by_id.iter().map(HashTable::len).sum::<usize>(), window.len());
    }

    #[test]
    fn of_an_id_recalled_twice_the_newer_counts() {
        for seconds in [[0, 4000], [4000, 0]] {
            let mut window = DedupWindow::new(HOUR, 1000);
            for second in seconds {
                window.recall("web", "s", "e", at(second));
            }
            assert!(!window.insert("web", "s", "e", at(7599)), "{seconds:?}");
            assert!(window.insert("web", "s", "e", at(7600)), "{seconds:?}");
        }
    }

    #[test]
    fn a_full_window_recalls_no_more_and_says_so() {
        let mut window = DedupWindow::new(HOUR, 2);
        for id in ["a", "b", "c"] {
            window.recall("web", "s", id, at(0));
        }
        assert_eq!((window.len(), window.forgotten_early()), (2, 1));
    }

    proptest! {
        #[test]
        fn what_is_recalled_late_and_in_any_order_is_known_as_if_it_had_been_seen(
            stored in proptest::collection::vec((0..4_u8, 0..8_u8, 0..7200_i64), 0..200),
            then in proptest::collection::vec((0..4_u8, 0..8_u8, 0..600_i64), 0..200),
        ) {
            let mut window = DedupWindow::new(HOUR, 10_000);
            let mut newest: HashMap<(u8, u8), i64> = HashMap::new();
            let mut sessions = stored.clone();
            let mut now = 7200;
            for (session, id, second) in &stored {
                let kept = newest.entry((*session, *id)).or_insert(*second);
                *kept = (*kept).max(*second);
            }
            for (session, id, step) in then {
                // The session's part is recalled when it is first asked for.
                for (session, id, second) in sessions.extract_if(.., |(other, ..)| *other == session) {
                    window.recall("web", &session.to_string(), &id.to_string(), at(second));
                }
                now += step;
                let is_new = newest.get(&(session, id)).is_none_or(|stored| now - stored >= 3600);
                if is_new {
                    newest.insert((session, id), now);
                }
                prop_assert_eq!(window.insert("web", session.to_string(), id.to_string(), at(now)), is_new);
            }
        }

        #[test]
        fn agrees_with_a_plain_map(events in proptest::collection::vec((0..3_u8, 0..4_u8, 0..8_u8, 0..2000_i64), 1..400)) {
            let mut window = DedupWindow::new(HOUR, 10_000);
            let mut model: HashMap<(u8, u8, u8), i64> = HashMap::new();
            let mut now = 0;
            for (application, session, id, step) in events {
                now += step;
                let key = (application, session, id);
                let is_new = model.get(&key).is_none_or(|stored| now - stored >= 3600);
                if is_new {
                    model.insert(key, now);
                }
                let [application, session, id] = [application, session, id].map(|number| number.to_string());
                prop_assert_eq!(window.insert(&application, &session, &id, at(now)), is_new);
            }
        }
    }
}
