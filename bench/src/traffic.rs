//! Events to send: realistic in size (about 350 bytes of JSON), deterministic, each with an id of its own.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use eye_event::Timestamp;

use crate::load::{self, Requests};

/// A small generator of numbers (xorshift64*), so that every run sends the same bytes.
/// Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016).
pub(crate) struct Numbers {
    state: u64,
    events: u64,
}

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(2).wrapping_add(1), events: 0 }
    }

    /// As if `events` events had come before.
    pub(crate) fn after(seed: u64, events: u64) -> Self {
        // Near seeds lie far apart.
        Self { events, ..Self::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)) }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48 & 0xfff,
            low & 0xffff_ffff_ffff
        )
    }
}

const CATEGORIES: [(&str, &str); 4] =
    [("page", "view"), ("form interaction", "submit"), ("page interaction", "click"), ("purchase", "checkout")];

/// What is the same in every form of an event: category, name, time and data.
fn content(numbers: &mut Numbers) -> (&'static str, &'static str, Timestamp, String) {
    let (category, name) = CATEGORIES[usize::try_from(numbers.below(4)).unwrap_or_default()];
    // A thousand events a second; each arrives up to two seconds late, so about half are out of order.
    numbers.events += 1;
    let micros = 1_795_000_000_000_000 + numbers.events * 1_000 - numbers.below(2_000_000);
    let timestamp = Timestamp::from_micros(i64::try_from(micros).unwrap_or_default());
    let data = format!(
        concat!(
            r#"{{"host":"www.example.com","path":"/products/{}","status":200,"bytes":{},"#,
            r#""referrer":"https://www.example.com/search?q={}","agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"}}"#
        ),
        numbers.below(10_000),
        numbers.below(100_000),
        numbers.below(1_000)
    );
    (category, name, timestamp, data)
}

/// One event as JSON text.
pub(crate) fn event(numbers: &mut Numbers, session: &str) -> String {
    let (category, name, timestamp, data) = content(numbers);
    let id = numbers.uuid();
    format!(
        r#"{{"event_id":"{id}","session_id":"{session}","category":"{category}","name":"{name}","timestamp":"{timestamp}","data":{data}}}"#
    )
}

/// One event as clients of the seed send it: no id, its own format of time.
pub(crate) fn seed_event(numbers: &mut Numbers, session: &str) -> String {
    let (category, name, timestamp, data) = content(numbers);
    let timestamp = timestamp.to_seed_string();
    format!(
        r#"{{"session_id":"{session}","category":"{category}","name":"{name}","data":{data},"timestamp":"{timestamp}"}}"#
    )
}

/// `count` NDJSON bodies of `events` events each; about eight events a session.
pub(crate) fn batches(seed: u64, count: usize, events: usize) -> Vec<String> {
    let mut numbers = Numbers::new(seed);
    let mut session = numbers.uuid();
    (0..count).map(|_| batch(&mut numbers, &mut session, events)).collect()
}

fn batch(numbers: &mut Numbers, session: &mut String, events: usize) -> String {
    let mut body = String::with_capacity(events * 400);
    for _ in 0..events {
        if numbers.below(8) == 0 {
            *session = numbers.uuid();
        }
        body.push_str(&event(numbers, session));
        body.push('\n');
    }
    body
}

/// Batches made as they are sent, no two alike in anything: for what is stored, where repetition would compress well.
pub(crate) struct Generated {
    pub(crate) token: String,
    pub(crate) batches: usize,
    pub(crate) events: usize,
}

impl Requests for Generated {
    fn get(&self, number: usize) -> Option<Cow<'_, [u8]>> {
        if number >= self.batches {
            return None;
        }
        let before = (number * self.events) as u64;
        let mut numbers = Numbers::after(number as u64 + 1, before);
        let mut session = numbers.uuid();
        let body = batch(&mut numbers, &mut session, self.events);
        Some(Cow::Owned(load::request(&self.token, "application/x-ndjson", &body)))
    }
}

/// Requests made before, sent over and over, each time with event and session ids of their own: traffic without an end
/// that costs the client little.
#[derive(Clone)]
pub(crate) struct Fresh {
    requests: Arc<[Vec<u8>]>,
    /// Of each request: where its ids begin, and the number that their first eight digits are.
    ids: Arc<[Vec<(usize, u32)>]>,
    /// Which of the endless row to send.
    numbers: Range<usize>,
}

impl Fresh {
    /// From requests whose ids are UUIDs. Two runs with different numbers have no event in common.
    pub(crate) fn new(requests: Vec<Vec<u8>>, numbers: Range<usize>) -> Self {
        const KEY: &[u8] = b"_id\":\"";
        let ids = |request: &Vec<u8>| {
            let keys = request.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY);
            let first_digits = |(place, _): (usize, &[u8])| {
                let place = place + KEY.len();
                let digits = std::str::from_utf8(request.get(place..place + 8)?).ok()?;
                Some((place, u32::from_str_radix(digits, 16).ok()?))
            };
            keys.filter_map(first_digits).collect()
        };
        let ids = requests.iter().map(ids).collect();
        Self { requests: requests.into(), ids, numbers }
    }

    /// The same row, other numbers of it.
    pub(crate) fn numbered(&self, numbers: Range<usize>) -> Self {
        Self { numbers, ..self.clone() }
    }

    /// The session of the first event of a request.
    pub(crate) fn session(&self, number: usize) -> Option<String> {
        self.first(number, "\"session_id\":\"")
    }

    /// The id of the first event of a request.
    pub(crate) fn event_id(&self, number: usize) -> Option<String> {
        self.first(number, "\"event_id\":\"")
    }

    /// The text behind the first of these keys.
    fn first(&self, number: usize, key: &str) -> Option<String> {
        let request = String::from_utf8(self.get(number)?.into_owned()).ok()?;
        let (_, rest) = request.split_once(key)?;
        Some(rest.split_once('"')?.0.to_owned())
    }
}

impl Requests for Fresh {
    fn get(&self, number: usize) -> Option<Cow<'_, [u8]>> {
        let number = self.numbers.start.checked_add(number).filter(|number| *number < self.numbers.end)?;
        let (round, number) = (number / self.requests.len(), number % self.requests.len());
        // An odd factor: no two rounds have the same mask, and ids of one round stay as far apart as they were.
        let mask = u32::try_from(round).ok()?.wrapping_mul(0x9E37_79B9);
        let mut request = self.requests[number].clone();
        for (place, first) in &self.ids[number] {
            request[*place..place + 8].copy_from_slice(&digits(first ^ mask));
        }
        Some(Cow::Owned(request))
    }
}

/// Eight hexadecimal digits.
fn digits(number: u32) -> [u8; 8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(number >> (28 - 4 * at) & 15) as usize])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_event_is_sent_twice() {
        let fresh = Fresh::new(batches(1, 2, 50).into_iter().map(String::into_bytes).collect(), 0..6);
        let mut ids = HashSet::new();
        for number in 0..6 {
            let body = String::from_utf8(fresh.get(number).unwrap().into_owned()).unwrap();
            for line in body.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                assert_eq!(event["session_id"].as_str().unwrap().len(), 36);
                assert!(ids.insert(event["event_id"].as_str().unwrap().to_owned()), "{line}");
            }
        }
        assert_eq!(ids.len(), 300);
        let first = String::from_utf8(fresh.get(3).unwrap().into_owned()).unwrap();
        let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
        assert_eq!(fresh.session(3).as_deref(), first["session_id"].as_str());
        assert_eq!(fresh.event_id(3).as_deref(), first["event_id"].as_str());
        assert_eq!(fresh.numbered(3..4).session(0), fresh.session(3));
        assert!(fresh.get(6).is_none());
    }

    #[test]
    fn generated_batches_have_nothing_in_common() {
        let generated = Generated { token: "t".to_owned(), batches: 3, events: 40 };
        let mut lines = HashSet::new();
        for number in 0..3 {
            let request = String::from_utf8(generated.get(number).unwrap().into_owned()).unwrap();
            let (_, body) = request.split_once("\r\n\r\n").unwrap();
            for line in body.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                assert!(lines.insert(event["event_id"].to_string()), "{line}");
            }
        }
        assert_eq!(lines.len(), 120);
        assert!(generated.get(3).is_none());
    }

    #[test]
    fn digits_are_those_of_the_number() {
        assert_eq!(&digits(0x0123_abcd), b"0123abcd");
    }
}
