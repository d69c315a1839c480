//! [`Totals`]: what a pass over events leaves of each session.
//!
//! Rows of a slice stand in session order, so the session of the row before is nearly always the right one: the hash
//! table is asked only when the session changes.

use ahash::AHashMap;
use eye_store::{SortKey, StoredEvent};

use crate::error::{Error, Result};
use crate::field::Field;
use crate::frame::{Frame, Texts};
use crate::names::Names;
use crate::scan::State;

/// One session's figures so far.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) first: SortKey,
    pub(super) last: SortKey,
    pub(super) events: u64,
    pub(super) problems: u64,
    pub(super) first_name: u32,
    pub(super) last_name: u32,
    /// A set of applications, by number.
    applications: u32,
}

/// All sessions' figures so far.
pub(super) struct Totals {
    sessions_max: usize,
    index: AHashMap<Box<str>, usize>,
    sessions: Vec<Session>,
    names: Names,
    applications: Sets,
    /// The session of the row before.
    current: Option<(String, usize)>,
    is_over: bool,
}

impl Totals {
    /// Nothing yet; at most `sessions_max` sessions, and as many distinct names.
    pub(super) fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max: sessions_max.min(u32::MAX as usize),
            index: AHashMap::new(),
            sessions: Vec::new(),
            names: Names::default(),
            applications: Sets::default(),
            current: None,
            is_over: false,
        }
    }

    /// Adds one event.
    pub(super) fn add_event(&mut self, stored: &StoredEvent<'_>) {
        let event = &stored.event;
        let row =
            Row { key: stored.sort_key(), application: stored.application, has_problem: !event.problems.is_empty() };
        self.add_row(event.session_id, &row, |names| names.number(event.name));
    }

    /// Adds one event; `name` says the number of its name. Once the limit has been met nothing more is added: see
    /// [`Totals::checked`].
    fn add_row(&mut self, session_id: &str, row: &Row<'_>, name: impl FnOnce(&mut Names) -> u32) {
        if self.is_over {
            return;
        }
        let key = row.key;
        let index = self.session(session_id, key);
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.events += 1;
        session.problems += u64::from(row.has_problem);
        session.applications = self.applications.with(session.applications, row.application);
        if key <= session.first || key >= session.last {
            let name = name(&mut self.names);
            if key <= session.first {
                (session.first, session.first_name) = (key, name);
            }
            if key >= session.last {
                (session.last, session.last_name) = (key, name);
            }
        }
        self.is_over = self.sessions.len() > self.sessions_max || self.names.len() > self.sessions_max;
    }

    /// # Errors
    /// `TooMuch`, if the limit has been met.
    pub(super) fn checked(&self) -> Result<()> {
        if !self.is_over {
            return Ok(());
        }
        let message = format!(
            "more than {} sessions match, which is more than one answer may add up: \
             narrow the time range with from and to, or filter",
            self.sessions_max
        );
        Err(Error::TooMuch { message })
    }

    /// Every session with its figures, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Session)> {
        self.index.iter().filter_map(|(session_id, index)| Some((&**session_id, self.sessions.get(*index)?)))
    }

    /// The name with this number.
    pub(super) fn name(&self, number: u32) -> &str {
        self.names.text(number)
    }

    /// The applications of this session, by name.
    pub(super) fn applications(&self, session: &Session) -> Vec<String> {
        self.applications.texts(session.applications)
    }

    /// Where a session stands in `sessions`; made, with this as its only event's key, if it is new.
    fn session(&mut self, session_id: &str, key: SortKey) -> usize {
        if let Some((current, index)) = &self.current
            && current == session_id
        {
            return *index;
        }
        let index = self.index.get(session_id).copied().unwrap_or_else(|| {
            let session = Session {
                first: key,
                last: key,
                events: 0,
                problems: 0,
                first_name: 0,
                last_name: 0,
                applications: Sets::EMPTY,
            };
            self.sessions.push(session);
            self.index.insert(session_id.into(), self.sessions.len() - 1);
            self.sessions.len() - 1
        });
        let (current, place) = self.current.get_or_insert_default();
        current.clear();
        current.push_str(session_id);
        *place = index;
        index
    }
}

/// What counts of an event besides its session and its name.
struct Row<'e> {
    key: SortKey,
    application: &'e str,
    has_problem: bool,
}

impl State for Totals {
    fn add(&mut self, frame: &Frame, mask: &[bool], _slice: u32) -> Result<()> {
        let texts = |field: Field| frame.texts(&field);
        let (sessions, applications) = (texts(Field::SessionId), texts(Field::Application));
        let mut names = NamesOf::new(texts(Field::Name));
        let problems = frame.problems();
        for row in (0..mask.len()).filter(|row| mask[*row]) {
            let application = applications.get(row).unwrap_or_default();
            let event = Row { key: frame.key(row), application, has_problem: !problems[row].is_empty() };
            self.add_row(sessions.get(row).unwrap_or_default(), &event, |all| names.number(row, all));
        }
        self.checked()
    }

    fn merge(&mut self, other: Self) -> Result<()> {
        for (session_id, theirs) in other.iter() {
            if self.sessions.len() > self.sessions_max {
                break;
            }
            let index = self.session(session_id, theirs.first);
            let Some(session) = self.sessions.get_mut(index) else { continue };
            let is_new = session.events == 0;
            session.events += theirs.events;
            session.problems += theirs.problems;
            for application in other.applications.texts(theirs.applications) {
                session.applications = self.applications.with(session.applications, &application);
            }
            if is_new || theirs.first < session.first {
                session.first = theirs.first;
                session.first_name = self.names.number(other.name(theirs.first_name));
            }
            if is_new || theirs.last > session.last {
                session.last = theirs.last;
                session.last_name = self.names.number(other.name(theirs.last_name));
            }
        }
        self.is_over |= other.is_over;
        self.is_over |= self.sessions.len() > self.sessions_max || self.names.len() > self.sessions_max;
        self.checked()
    }
}

/// The numbers of one frame's names. Of a column with few texts each is numbered once, when it first counts.
struct NamesOf<'f> {
    texts: &'f Texts,
    by_code: Vec<Option<u32>>,
}

impl<'f> NamesOf<'f> {
    fn new(texts: &'f Texts) -> Self {
        let codes = if let Texts::Coded(_, values) = texts { values.iter().len() } else { 0 };
        Self { texts, by_code: vec![None; codes] }
    }

    fn number(&mut self, row: usize, names: &mut Names) -> u32 {
        let code = match self.texts {
            Texts::Coded(codes, _) => usize::try_from(codes[row]).ok(),
            _ => None,
        };
        if let Some(number) = code.and_then(|code| *self.by_code.get(code)?) {
            return number;
        }
        let number = names.number(self.texts.get(row).unwrap_or_default());
        if let Some(known) = code.and_then(|code| self.by_code.get_mut(code)) {
            *known = Some(number);
        }
        number
    }
}

/// Sets of applications as numbers, each set kept once: nearly every session has the same few.
struct Sets {
    names: Names,
    /// The members of each set, rising.
    sets: Vec<Vec<u32>>,
    numbers: AHashMap<Vec<u32>, u32>,
    /// The last step taken: this set and this application make that set.
    step: Option<(u32, Box<str>, u32)>,
}

impl Default for Sets {
    fn default() -> Self {
        let numbers = AHashMap::from_iter([(Vec::new(), Self::EMPTY)]);
        Self { names: Names::default(), sets: vec![Vec::new()], numbers, step: None }
    }
}

impl Sets {
    const EMPTY: u32 = 0;

    /// The set that has this application too.
    fn with(&mut self, set: u32, application: &str) -> u32 {
        if let Some((from, step, to)) = &self.step
            && &**step == application
            && (set == *from || set == *to)
        {
            return *to;
        }
        let member = self.names.number(application);
        let mut members = self.sets.get(set as usize).cloned().unwrap_or_default();
        if let Err(place) = members.binary_search(&member) {
            members.insert(place, member);
        }
        let next = u32::try_from(self.sets.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(members.clone()).or_insert(next);
        if number == next {
            self.sets.push(members);
        }
        self.step = Some((set, application.into(), number));
        number
    }

    fn texts(&self, set: u32) -> Vec<String> {
        let members = self.sets.get(set as usize).map_or(&[][..], |members| members);
        let mut texts: Vec<String> = members.iter().map(|member| self.names.text(*member).to_owned()).collect();
        texts.sort_unstable();
        texts
    }
}
