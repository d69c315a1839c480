//! The demo's traffic: visitors of a shop, each walking through pages as people do, and a small share of everything that
//! goes wrong between a browser and a server.
//!
//! The rule that must hold: a line depends on the [`Shape`] alone. No clock, no other randomness.

use std::collections::{BTreeMap, VecDeque};

use eye_event::Timestamp;
use serde_json::{Value, json};

use super::rng::Rng;

const MICROS_PER_SECOND: u64 = 1_000_000;
const MICROS_PER_DAY: u64 = 86_400 * MICROS_PER_SECOND;

/// Shares in 1,000 events.
const LATE: u64 = 15;
const DUPLICATE: u64 = 10;
const UNREADABLE_TIME: u64 = 4;
const MISSING_TIME: u64 = 2;
const FUTURE_TIME: u64 = 3;
const MALFORMED: u64 = 4;
/// A late event comes up to this many events after its time.
const LATE_BY_MAX: u64 = 400;

const PAGES: [&str; 8] =
    ["/", "/products", "/products/lamp", "/products/desk", "/products/chair", "/about", "/help", "/sale"];
const TERMS: [&str; 6] = ["lamp", "desk", "oak chair", "gift", "größe 42", "照明"];
const REFERRERS: [&str; 5] =
    ["", "https://search.example/", "https://news.example/", "newsletter", "https://social.example/"];
const DEVICES: [&str; 3] = ["desktop", "phone", "tablet"];
const NO_TIMES: [&str; 4] = ["yesterday", "0000-00-00 00:00:00", "2022-13-45 09:15:27", ""];

/// What the traffic follows from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Which traffic.
    pub(crate) seed: u64,
    /// How many lines.
    pub(crate) events: u64,
    /// Over how many days.
    pub(crate) days: u32,
    /// The end of the last day.
    pub(crate) until: Timestamp,
}

/// The lines, in the order in which they are sent.
#[derive(Debug)]
pub(crate) struct Traffic {
    shape: Shape,
    rng: Rng,
    made: u64,
    /// Who is inside, by the time of the next step; the number keeps two of one moment apart.
    visitors: BTreeMap<(u64, u64), Visitor>,
    /// Lines that come later: duplicates and late events, with the number of the line they come before.
    later: VecDeque<(u64, String)>,
}

/// Somebody who walks through the shop.
#[derive(Debug)]
struct Visitor {
    session_id: String,
    anonymous_id: String,
    user_id: Option<String>,
    device: &'static str,
    /// The next event's time, in microseconds since 1970.
    clock: u64,
    steps_left: u64,
    cart: u64,
    page: &'static str,
}

impl Traffic {
    /// Nothing is made before it is asked for.
    pub(crate) fn new(shape: Shape) -> Self {
        let mut seed = Rng::new(shape.seed);
        let until = u64::from_ne_bytes(shape.until.micros().to_ne_bytes());
        // The same seed over other days is other traffic: its event ids must differ.
        let rng =
            Rng::new(seed.next() ^ Rng::new(until).next() ^ Rng::new(u64::from(shape.days)).next().rotate_left(17));
        Self { shape, rng, made: 0, visitors: BTreeMap::new(), later: VecDeque::new() }
    }

    /// The moment of line `made`: time passes evenly from the first to the last.
    fn now(&self) -> u64 {
        let until = u64::try_from(self.shape.until.micros()).unwrap_or(0);
        let span = u64::from(self.shape.days) * MICROS_PER_DAY;
        let passed = u128::from(span) * u128::from(self.made) / u128::from(self.shape.events.max(1));
        until.saturating_sub(span) + u64::try_from(passed).unwrap_or(0)
    }

    /// The next line of somebody who is inside and due, else of somebody new: times rise from line to line, and none lies
    /// past the end.
    fn fresh_line(&mut self) -> String {
        let now = self.now();
        let is_due = self.visitors.first_key_value().is_some_and(|((clock, _), _)| *clock <= now);
        let inside = if is_due { self.visitors.pop_first().map(|(_, visitor)| visitor) } else { None };
        let mut visitor = inside.unwrap_or_else(|| Visitor::new(&mut self.rng, now));
        let mut event = step(&mut self.rng, &mut visitor);
        if visitor.steps_left > 0 {
            self.visitors.insert((visitor.clock, self.rng.next()), visitor);
        }
        spoil_time(&mut self.rng, &mut event, now);
        if self.rng.per_mille(MALFORMED) {
            return malformed(&mut self.rng, event);
        }
        event.to_string()
    }

    /// A fresh line; now and then it is kept for later, or a copy of it is.
    fn line(&mut self) -> String {
        let line = self.fresh_line();
        // What is put off must still come before the end.
        if self.shape.events - self.made <= self.later.len() as u64 + 2 {
            return line;
        }
        if self.rng.per_mille(DUPLICATE) {
            self.put_off(line.clone());
        } else if self.rng.per_mille(LATE) {
            self.put_off(line);
            return self.fresh_line();
        }
        line
    }

    fn put_off(&mut self, line: String) {
        let due = self.made + 1 + self.rng.below(LATE_BY_MAX);
        let at = self.later.partition_point(|(other, _)| *other <= due);
        self.later.insert(at, (due, line));
    }
}

impl Iterator for Traffic {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.made == self.shape.events {
            return None;
        }
        // At the end everything that was put off must still come.
        let left = self.shape.events - self.made;
        let is_due = self.later.front().is_some_and(|(due, _)| *due <= self.made) || self.later.len() as u64 >= left;
        let put_off = if is_due { self.later.pop_front() } else { None };
        let line = put_off.map_or_else(|| self.line(), |(_, line)| line);
        self.made += 1;
        Some(line)
    }
}

impl Visitor {
    fn new(rng: &mut Rng, now: u64) -> Self {
        let is_known = rng.per_mille(300);
        Self {
            session_id: rng.uuid(),
            anonymous_id: format!("anon-{:06}", rng.below(200_000)),
            user_id: is_known.then(|| format!("customer-{}", 1 + rng.below(5_000))),
            device: rng.pick(&DEVICES),
            clock: now,
            steps_left: 1 + rng.below(6) * (1 + rng.below(4)),
            cart: 0,
            page: "/",
        }
    }
}

/// What a visitor does next.
fn step(rng: &mut Rng, visitor: &mut Visitor) -> Value {
    let (category, name, data) = action(rng, visitor);
    let timestamp = Timestamp::from_micros(i64::try_from(visitor.clock).unwrap_or(i64::MAX));
    visitor.steps_left = visitor.steps_left.saturating_sub(1);
    // Most steps take seconds; now and then somebody fetches a coffee.
    let pause = if rng.per_mille(60) { 300 + rng.below(1_800) } else { 1 + rng.below(45) };
    visitor.clock += pause * MICROS_PER_SECOND + rng.below(MICROS_PER_SECOND);
    let mut event = json!({
        "event_id": rng.uuid(),
        "session_id": visitor.session_id,
        "category": category,
        "name": name,
        "timestamp": timestamp.to_string(),
        "data": data,
        "anonymous_id": visitor.anonymous_id,
        "context": {"device": visitor.device, "library": "demo"},
    });
    if let Some(user_id) = &visitor.user_id {
        event["user_id"] = json!(user_id);
    }
    event
}

fn action(rng: &mut Rng, visitor: &mut Visitor) -> (&'static str, &'static str, Value) {
    match rng.below(100) {
        0..52 => {
            visitor.page = rng.pick(&PAGES);
            (
                "page",
                "view",
                json!({"path": visitor.page, "referrer": rng.pick(&REFERRERS), "load_ms": 80 + rng.below(1_900)}),
            )
        }
        52..72 => (
            "click",
            "button",
            json!({"path": visitor.page, "id": format!("button-{}", rng.below(12)), "x": rng.below(1_920), "y": rng.below(1_080)}),
        ),
        72..80 => ("search", "query", json!({"term": rng.pick(&TERMS), "results": rng.below(60)})),
        80..87 => {
            let is_valid = rng.per_mille(850);
            (
                "form",
                if is_valid { "submit" } else { "invalid" },
                json!({"form": "newsletter", "fields": 1 + rng.below(6), "valid": is_valid}),
            )
        }
        87..94 => {
            visitor.cart += 1;
            (
                "cart",
                "add",
                json!({"product": format!("sku-{:04}", rng.below(400)), "quantity": 1 + rng.below(3), "items": visitor.cart}),
            )
        }
        94..97 if visitor.cart > 0 => {
            let items = std::mem::take(&mut visitor.cart);
            let cents = items * (900 + rng.below(20_000));
            (
                "checkout",
                "purchase",
                json!({"order": rng.uuid(), "items": items, "total": format!("{}.{:02}", cents / 100, cents % 100), "currency": "EUR"}),
            )
        }
        _ => ("page", "leave", json!({"path": visitor.page, "scrolled_percent": rng.below(101)})),
    }
}

/// Breaks the time of a small share of events.
fn spoil_time(rng: &mut Rng, event: &mut Value, now: u64) {
    let (unreadable, missing) = (UNREADABLE_TIME, UNREADABLE_TIME + MISSING_TIME);
    match rng.below(1_000) {
        case if case < unreadable => event["timestamp"] = json!(rng.pick(&NO_TIMES)),
        case if case < missing => event["timestamp"] = Value::Null,
        case if case < missing + FUTURE_TIME => {
            // Years ahead, so that it stays the future for whoever runs this.
            let ahead = i64::try_from(now + (40_000 + rng.below(3_650)) * MICROS_PER_DAY).unwrap_or(i64::MAX);
            event["timestamp"] = json!(Timestamp::from_micros(ahead).to_string());
        }
        _ => {}
    }
}

/// Something that is no event.
fn malformed(rng: &mut Rng, mut event: Value) -> String {
    match rng.below(5) {
        0 => event["session_id"] = Value::Null,
        1 => event["session_id"] = json!(""),
        2 => event["category"] = json!({"wrong": "type"}),
        3 => return "[\"not an event\"]".to_owned(),
        _ => {
            let line = event.to_string();
            return line.chars().take(line.chars().count() / 2).collect();
        }
    }
    event.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn shape(seed: u64) -> Shape {
        Shape { seed, events: 20_000, days: 7, until: Timestamp::parse("2026-01-01T00:00:00Z").unwrap() }
    }

    #[test]
    fn the_same_seed_gives_the_same_lines_and_another_gives_others() {
        let lines = |seed| Traffic::new(shape(seed)).collect::<Vec<_>>();
        let first = lines(1);
        assert_eq!(first.len(), 20_000);
        assert_eq!(first, lines(1));
        let ids = |lines: &[String]| -> BTreeSet<String> {
            let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.filter_map(|event| event["event_id"].as_str().map(str::to_owned)).collect()
        };
        assert!(ids(&first).len() > 19_000);
        assert!(ids(&first).is_disjoint(&ids(&lines(2))));
    }

    #[test]
    fn every_kind_of_trouble_is_there_in_a_small_share() {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut sessions = BTreeSet::new();
        let (mut newest, until) = (Timestamp::default(), shape(3).until);
        for line in Traffic::new(shape(3)) {
            let Ok(event) = serde_json::from_str::<Value>(&line) else {
                *kinds.entry("broken").or_default() += 1;
                continue;
            };
            let id = event["event_id"].as_str().unwrap_or_default().to_owned();
            if !id.is_empty() && !seen.insert(id) {
                *kinds.entry("duplicate").or_default() += 1;
            }
            sessions.extend(event["session_id"].as_str().map(str::to_owned));
            let time = event["timestamp"].as_str().and_then(Timestamp::parse);
            let kind = match time {
                None => "no time",
                Some(time) if time.micros() > until.micros() + 30 * 86_400_000_000 => "future",
                Some(time) if time < newest => "late",
                Some(time) => {
                    newest = time;
                    "plain"
                }
            };
            *kinds.entry(kind).or_default() += 1;
            *kinds.entry(if event["category"] == "checkout" { "purchase" } else { "other" }).or_default() += 1;
        }
        for (kind, least, most) in [
            ("broken", 1, 200),
            ("duplicate", 50, 600),
            ("no time", 20, 400),
            ("future", 10, 200),
            ("late", 200, 1_200),
            ("purchase", 50, 2_000),
        ] {
            let count = kinds.get(kind).copied().unwrap_or_default();
            assert!((least..=most).contains(&count), "{kind}: {count} of {kinds:?}");
        }
        assert!(sessions.len() > 1_000, "{} sessions", sessions.len());
    }
}
