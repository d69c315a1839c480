//! What is wrong with stored events: counts by code, application and name, each with its newest samples.

use ahash::AHashMap;
use eye_event::{Problem, Timestamp};
use eye_store::{Columns, StoredEvent};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::events::{Row, fetch};
use crate::filter::{Filter, ProblemFilter};
use crate::names::Names;
use crate::order::{Order, Rank};
use crate::output::EventOut;
use crate::source::{Source, SourceSlice};
use crate::top::Top;

/// How many samples each kind of problem has unless asked otherwise.
pub const SAMPLES: usize = 3;
/// How many samples each kind of problem may have.
pub const SAMPLES_MAX: usize = 20;
/// How many kinds of problem one answer may list.
pub const PROBLEM_KINDS_MAX: usize = 10_000;

/// Which problems, with how many samples.
#[derive(Clone, Debug)]
pub struct ProblemsQuery {
    /// The applications that the asker may see; `None` is all of them.
    pub allowed: Option<Vec<String>>,
    /// Only what this application sent.
    pub application: Option<String>,
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// How many of the newest events to show of each kind: 0 to [`SAMPLES_MAX`].
    pub samples: usize,
}

impl Default for ProblemsQuery {
    fn default() -> Self {
        Self { allowed: None, application: None, from: None, to: None, samples: SAMPLES }
    }
}

/// One kind of problem.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemOut {
    /// What is wrong.
    pub code: String,
    /// Who sent them.
    pub application: String,
    /// The name of the events.
    pub name: String,
    /// How many events.
    pub count: u64,
    /// The newest of them. Fewer than asked for where all samples together would be too large to answer.
    pub samples: Vec<EventOut>,
}

/// Every kind of problem.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemsPage {
    /// The kinds, the most frequent first, then by code, application and name.
    pub problems: Vec<ProblemOut>,
    /// The version of the table that the answer saw.
    pub version: u64,
    /// What the answer has seen of the log.
    pub offset: String,
}

/// What is wrong with stored events.
///
/// # Errors
/// `Invalid` for too many samples; `TooMuch` beyond [`PROBLEM_KINDS_MAX`]; `Cancelled`; those of the store.
pub fn problems<S: Source>(source: &S, query: &ProblemsQuery, cancel: &Cancel) -> Result<ProblemsPage> {
    if query.samples > SAMPLES_MAX {
        let message = format!("samples is {}: send a number from 0 to {SAMPLES_MAX}", query.samples);
        return Err(Error::invalid("samples", message));
    }
    let filter = Filter {
        allowed: query.allowed.clone(),
        application: query.application.clone(),
        from: query.from,
        to: query.to,
        problem: Some(ProblemFilter::Any),
        ..Filter::default()
    };
    let slices = if filter.is_impossible() { Vec::new() } else { source.slices(filter.from(), filter.to())? };
    let mut kinds = Kinds::new(query.samples);
    for (index, slice) in slices.iter().enumerate() {
        cancel.check()?;
        if filter.slice_can_match(slice.timestamps()) {
            kinds.add_slice(index, slice, &filter)?;
        }
    }
    let problems = with_samples(&slices, kinds.finish(), cancel)?;
    Ok(ProblemsPage { problems, version: source.version(), offset: source.position().to_string() })
}

/// A kind of problem: the problem, and the numbers of the application and the name.
type KindKey = (Problem, u32, u32);

/// Every kind so far.
struct Kinds {
    samples: usize,
    texts: Names,
    kinds: AHashMap<KindKey, Kind>,
}

/// One kind so far.
struct Kind {
    count: u64,
    newest: Top<Rank, (usize, u32)>,
}

impl Kinds {
    fn new(samples: usize) -> Self {
        Self { samples, texts: Names::default(), kinds: AHashMap::new() }
    }

    fn add_slice<L: SourceSlice>(&mut self, index: usize, slice: &L, filter: &Filter) -> Result<()> {
        let columns = filter.columns() | Columns::SORT_KEY | Columns::APPLICATION | Columns::NAME;
        slice.visit(columns, &mut |row, event| {
            if self.kinds.len() <= PROBLEM_KINDS_MAX && filter.matches(event) {
                self.add(event, (index, row));
            }
        })?;
        if self.kinds.len() <= PROBLEM_KINDS_MAX {
            return Ok(());
        }
        let message = format!(
            "there are more than {PROBLEM_KINDS_MAX} kinds of problem (code, application and name): \
             narrow the time range with from and to, or ask for one application"
        );
        Err(Error::TooMuch { message })
    }

    fn add(&mut self, stored: &StoredEvent<'_>, place: (usize, u32)) {
        let rank = Order::Newest.rank(stored.sort_key());
        let (application, name) = (self.texts.number(stored.application), self.texts.number(stored.event.name));
        for problem in stored.event.problems.iter() {
            let kind = self.kinds.entry((problem, application, name));
            let kind = kind.or_insert_with(|| Kind { count: 0, newest: Top::new(self.samples, usize::MAX) });
            kind.count += 1;
            kind.newest.offer(rank, 0, || place);
        }
    }

    /// The kinds as they are shown, in the order of the answer, each with the places of its samples.
    fn finish(self) -> Vec<(ProblemOut, Vec<Row>)> {
        let texts = self.texts;
        let mut kinds: Vec<_> = self.kinds.into_iter().map(|(key, kind)| shown(&texts, key, kind)).collect();
        kinds.sort_by(|(a, _), (b, _)| {
            let (left, right) =
                ((b.count, &a.code, &a.application, &a.name), (a.count, &b.code, &b.application, &b.name));
            left.cmp(&right)
        });
        kinds
    }
}

fn shown(texts: &Names, (problem, application, name): KindKey, kind: Kind) -> (ProblemOut, Vec<Row>) {
    let problem = ProblemOut {
        code: problem.code().to_owned(),
        application: texts.text(application).to_owned(),
        name: texts.text(name).to_owned(),
        count: kind.count,
        samples: Vec::new(),
    };
    let (rows, _) = kind.newest.finish();
    (problem, rows.into_iter().map(|(rank, (slice, row))| Row { rank, slice, row }).collect())
}

/// Fetches every sample once, though an event with two problems is a sample of two kinds.
fn with_samples<L: SourceSlice>(
    slices: &[L],
    kinds: Vec<(ProblemOut, Vec<Row>)>,
    cancel: &Cancel,
) -> Result<Vec<ProblemOut>> {
    let mut rows: Vec<Row> = kinds.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    rows.sort_unstable_by_key(|row| row.rank);
    rows.dedup_by_key(|row| row.rank);
    let (fetched, _) = fetch(slices, Order::Newest, &rows, cancel, |event| EventOut::from(event))?;
    let fetched: AHashMap<Rank, EventOut> = fetched.into_iter().collect();
    let with_its_samples = |(problem, rows): (ProblemOut, Vec<Row>)| ProblemOut {
        samples: rows.iter().filter_map(|row| fetched.get(&row.rank).cloned()).collect(),
        ..problem
    };
    Ok(kinds.into_iter().map(with_its_samples).collect())
}
