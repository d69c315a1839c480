//! The events that questions are asked about: 30 days of sessions, the same on every machine, in the order of their time.
//!
//! A session has 13.3 events on average, one in 45 seconds; days have quiet and busy hours. Categories, names, pages,
//! countries and users are skewed as they are in life: few are frequent, many are rare.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::sync::Mutex;

use eye_event::Timestamp;

use crate::load::{self, Requests};
use crate::traffic::Numbers;

/// Raised with every change of what is generated: data of another version is made anew.
pub(crate) const VERSION: u32 = 1;
/// 2026-06-01T00:00:00Z, a Monday.
pub(crate) const FROM: i64 = 1_780_272_000_000_000;
pub(crate) const DAY: i64 = 86_400_000_000;
pub(crate) const HOUR: i64 = DAY / 24;
pub(crate) const DAYS: i64 = 30;
pub(crate) const TO: i64 = FROM + DAYS * DAY;

/// Session numbers of this lie far from other uses of the generator.
const SEED: u64 = 0x5EED_0001;
const EVENTS_A_SESSION: f64 = 13.33;
/// What the exponential distribution has as its mean, so that whole numbers above 0 have [`EVENTS_A_SESSION`].
const EVENTS_SCALE: f64 = 12.85;
const GAP_MICROS: f64 = 45e6;
const PATHS: f64 = 5_000.0;
/// How much busier the busiest hour is than the mean.
const WAVE: f64 = 0.6;

/// How often in a thousand, category, name.
const KINDS: [(u64, &str, &str); 15] = [
    (470, "page", "view"),
    (90, "page", "leave"),
    (130, "page interaction", "click"),
    (60, "page interaction", "scroll"),
    (20, "page interaction", "hover"),
    (70, "search", "query"),
    (30, "form interaction", "focus"),
    (30, "form interaction", "submit"),
    (45, "cart", "add"),
    (15, "cart", "remove"),
    (14, "checkout", "begin"),
    (6, "checkout", "address"),
    (10, "purchase", "complete"),
    (9, "error", "exception"),
    (1, "error", "timeout"),
];
const PLANS: [(u64, &str); 4] = [(700, "free"), (200, "pro"), (80, "team"), (20, "enterprise")];
const COUNTRIES: [&str; 24] = [
    "US", "DE", "IN", "GB", "FR", "BR", "JP", "CA", "ES", "IT", "NL", "AU", "MX", "PL", "SE", "CH", "KR", "TR", "AR",
    "AT", "DK", "NO", "FI", "NZ",
];

/// How many sessions so many events are.
pub(crate) fn sessions(events: usize) -> u64 {
    (events as f64 / EVENTS_A_SESSION) as u64
}

/// The id of a session, by its number.
pub(crate) fn session_id(number: u64) -> String {
    Numbers::after(SEED + number, 0).uuid()
}

/// From 0 to below 1.
fn share(numbers: &mut Numbers) -> f64 {
    (numbers.next() >> 11) as f64 / (1_u64 << 53) as f64
}

fn exponential(numbers: &mut Numbers, mean: f64) -> f64 {
    -(1.0 - share(numbers)).ln() * mean
}

/// One of these, by how often each is in a thousand.
fn weighted<T: Copy>(numbers: &mut Numbers, choices: &[T], weight: impl Fn(T) -> u64) -> T {
    let mut left = numbers.below(1_000);
    for choice in choices {
        match left.checked_sub(weight(*choice)) {
            None => return *choice,
            Some(rest) => left = rest,
        }
    }
    choices[0]
}

/// A session that is going on; ordered by its next event.
struct Session {
    at: i64,
    number: u64,
    left: u64,
    numbers: Numbers,
    id: String,
    /// User and anonymous id, as JSON.
    people: String,
    plan: &'static str,
    country: &'static str,
}

impl Session {
    fn new(number: u64, sessions: u64) -> Self {
        let mut numbers = Numbers::after(SEED + number, 0);
        let id = numbers.uuid();
        let even = (number as f64 + share(&mut numbers)) / sessions as f64 * DAYS as f64;
        let turn = even * std::f64::consts::TAU;
        let days = even + WAVE * turn.sin() / std::f64::consts::TAU;
        let left = 1 + exponential(&mut numbers, EVENTS_SCALE) as u64;
        // A few users come often, most of them seldom; two sessions of five are of nobody known.
        let user = (share(&mut numbers).powi(2) * sessions as f64 / 5.0) as u64;
        let mut people = format!(r#""anonymous_id":"a-{:012x}""#, numbers.next() >> 16);
        if numbers.below(10) < 6 {
            people = format!(r#""user_id":"user-{user}","anonymous_id":"a-{user:012x}""#);
        }
        let plan = weighted(&mut numbers, &PLANS, |plan| plan.0).1;
        let country = COUNTRIES[(share(&mut numbers).powi(3) * COUNTRIES.len() as f64) as usize];
        Self { at: FROM + (days * DAY as f64) as i64, number, left, numbers, id, people, plan, country }
    }

    /// Writes the next event, and goes on to the one after it.
    fn write(&mut self, line: &mut String) {
        let numbers = &mut self.numbers;
        let (_, category, name) = weighted(numbers, &KINDS, |kind| kind.0);
        let (event_id, timestamp) = (numbers.uuid(), Timestamp::from_micros(self.at));
        let path = (share(numbers).powi(4) * PATHS) as u64;
        let (cents, search) = (numbers.below(100_000), numbers.below(1_000));
        let Self { id, people, plan, country, .. } = self;
        let (whole, part) = (cents / 100, cents % 100);
        // Writing to a text cannot fail.
        let _ = writeln!(
            line,
            concat!(
                r#"{{"event_id":"{}","session_id":"{}",{},"category":"{}","name":"{}","timestamp":"{}","data":{{"path":"/products/{}","#,
                r#""plan":"{}","country":"{}","amount":{}.{:02},"referrer":"https://www.example.com/search?q={}","#,
                r#""agent":"Mozilla/5.0 (X11; Linux x86_64)"}}}}"#
            ),
            event_id, id, people, category, name, timestamp, path, plan, country, whole, part, search
        );
        self.at += 1 + exponential(&mut self.numbers, GAP_MICROS) as i64;
        self.left -= 1;
    }
}

impl Ord for Session {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Session {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Session {}

/// All events, in the order of their time.
pub(crate) struct Events {
    sessions: u64,
    left: usize,
    waiting: Session,
    going_on: BinaryHeap<Reverse<Session>>,
}

impl Events {
    pub(crate) fn new(events: usize) -> Self {
        let sessions = sessions(events);
        Self { sessions, left: events, waiting: Session::new(0, sessions), going_on: BinaryHeap::new() }
    }

    /// Appends up to `count` events as lines. False if there were none left.
    pub(crate) fn write(&mut self, count: usize, lines: &mut String) -> bool {
        let count = count.min(self.left);
        self.left -= count;
        for _ in 0..count {
            while self.going_on.peek().is_none_or(|first| self.waiting < first.0) {
                let next = Session::new(self.waiting.number + 1, self.sessions);
                self.going_on.push(Reverse(std::mem::replace(&mut self.waiting, next)));
            }
            let Some(Reverse(mut session)) = self.going_on.pop() else { continue };
            session.write(lines);
            if session.left > 0 {
                self.going_on.push(Reverse(session));
            }
        }
        count > 0
    }
}

/// The same as requests.
pub(crate) struct Sending {
    pub(crate) token: String,
    pub(crate) events: Mutex<Events>,
    pub(crate) batch_events: usize,
}

impl Requests for Sending {
    fn get(&self, _: usize) -> Option<Cow<'_, [u8]>> {
        let mut body = String::with_capacity(self.batch_events * 450);
        let mut events = self.events.lock().ok()?;
        events
            .write(self.batch_events, &mut body)
            .then(|| Cow::Owned(load::request(&self.token, "application/x-ndjson", &body)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn events_come_in_order_and_are_the_same_every_time() {
        let write = || {
            let (mut events, mut lines) = (Events::new(40_000), String::new());
            while events.write(999, &mut lines) {}
            lines
        };
        let lines = write();
        assert_eq!(lines, write());
        let (mut last, mut sessions, mut ids) = (String::new(), HashSet::new(), HashSet::new());
        for line in lines.lines() {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let timestamp = event["timestamp"].as_str().unwrap().to_owned();
            assert!(last <= timestamp, "{last} {timestamp}");
            last = timestamp;
            sessions.insert(event["session_id"].as_str().unwrap().to_owned());
            assert!(ids.insert(event["event_id"].to_string()));
        }
        assert_eq!(ids.len(), 40_000);
        assert!(sessions.contains(&session_id(7)));
        assert!((12.8..13.9).contains(&(40_000.0 / sessions.len() as f64)), "{}", sessions.len());
        // How many sessions fill the range is exact only for many of them.
        assert!(last.as_str() > "2026-06-29" && last.as_str() < "2026-07-03", "{last}");
    }

    #[test]
    fn the_range_is_a_month_of_june() {
        assert_eq!(Timestamp::from_micros(FROM).to_string(), "2026-06-01T00:00:00.000000Z");
        assert_eq!(KINDS.iter().map(|kind| kind.0).sum::<u64>(), 1_000);
    }
}
