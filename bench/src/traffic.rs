//! Events to send: realistic in size (about 350 bytes of JSON), deterministic, each with an id of its own.

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

    pub(crate) fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
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

/// One event as JSON text.
pub(crate) fn event(numbers: &mut Numbers, session: &str) -> String {
    let (category, name) = CATEGORIES[usize::try_from(numbers.below(4)).unwrap_or_default()];
    // A thousand events a second; each arrives up to two seconds late, so about half are out of order.
    numbers.events += 1;
    let micros = 1_795_000_000_000_000 + numbers.events * 1_000 - numbers.below(2_000_000);
    let timestamp = eye_event::Timestamp::from_micros(i64::try_from(micros).unwrap_or_default());
    format!(
        concat!(
            r#"{{"event_id":"{}","session_id":"{}","category":"{}","name":"{}","timestamp":"{}","#,
            r#""data":{{"host":"www.example.com","path":"/products/{}","status":200,"bytes":{},"#,
            r#""referrer":"https://www.example.com/search?q={}","agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"}}}}"#
        ),
        numbers.uuid(),
        session,
        category,
        name,
        timestamp,
        numbers.below(10_000),
        numbers.below(100_000),
        numbers.below(1_000)
    )
}

/// `count` NDJSON bodies of `events` events each; about eight events a session.
pub(crate) fn batches(seed: u64, count: usize, events: usize) -> Vec<String> {
    let mut numbers = Numbers::new(seed);
    let mut session = numbers.uuid();
    (0..count)
        .map(|_| {
            let mut body = String::with_capacity(events * 400);
            for _ in 0..events {
                if numbers.below(8) == 0 {
                    session = numbers.uuid();
                }
                body.push_str(&event(&mut numbers, &session));
                body.push('\n');
            }
            body
        })
        .collect()
}
