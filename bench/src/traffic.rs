//! Events to send: realistic in size (about 350 bytes of JSON), deterministic, each with an id of its own.

/// A small generator of numbers (xorshift64*), so that every run sends the same bytes.
/// Source: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
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
    let (second, micros) = (numbers.below(60), numbers.below(1_000_000));
    format!(
        concat!(
            r#"{{"event_id":"{}","session_id":"{}","category":"{}","name":"{}","timestamp":"2026-11-23T10:15:{:02}.{:06}Z","#,
            r#""data":{{"host":"www.example.com","path":"/products/{}","status":200,"bytes":{},"#,
            r#""referrer":"https://www.example.com/search?q={}","agent":"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101"}}}}"#
        ),
        numbers.uuid(),
        session,
        category,
        name,
        second,
        micros,
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
