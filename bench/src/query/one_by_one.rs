//! Questions of one kind that are asked once each, so that nothing can be kept for them.

use super::data::{self, DAY, DAYS, FROM, HOUR};
use super::dialect::Dialect;
use super::questions::{self, ALL};
use super::store::Place;
use super::{Line, Peer, Table, is_equal, percentile};
use crate::Error;
use crate::client::{Client, Request};
use crate::server::Server;
use crate::traffic::Numbers;

const SESSIONS: usize = 500;
const HOURS: usize = 60;
/// How many of them are asked once more before, to warm up.
const WARM_UP: usize = 10;

/// The questions, and what of them is told.
pub(super) struct OneByOne {
    requests: Vec<Request>,
    /// The same in SQL; `{events}` stands for the table.
    sql: Vec<Box<dyn Fn(Dialect) -> String>>,
    lines: Vec<(usize, Line)>,
}

/// Sessions by their ids, of all ages and in no order.
pub(super) fn sessions(place: &Place) -> OneByOne {
    let (mut numbers, sessions) = (Numbers::new(11), data::sessions(place.events));
    // The last ones may have been cut off by the end of the range.
    let id = |_| data::session_id(numbers.next() % (sessions * 99 / 100));
    let ids: Vec<String> = (0..SESSIONS).map(id).collect();
    let sql = |id: &String| -> Box<dyn Fn(Dialect) -> String> {
        let sql = format!("select {ALL} from {{events}} where session_id = '{id}' order by timestamp desc");
        Box::new(move |_| sql.clone())
    };
    OneByOne {
        requests: ids.iter().map(|id| Request::Get(format!("/v1/sessions/{id}"))).collect(),
        sql: ids.iter().map(sql).collect(),
        lines: vec![
            (50, Line::new("session by id, p50", 0.25, Some(1.0))),
            (99, Line::new("session by id, p99", 0.25, None)),
        ],
    }
}

/// The first page of some hours, far from each other.
pub(super) fn hours() -> OneByOne {
    let mut numbers = Numbers::new(12);
    let hours = u64::try_from(DAYS * DAY / HOUR).unwrap_or_default();
    let from = |_| FROM + i64::try_from(numbers.next() % hours).unwrap_or_default() * HOUR;
    let times: Vec<i64> = (0..HOURS).map(from).collect();
    let sql = |from: &i64| -> Box<dyn Fn(Dialect) -> String> {
        let (from, to) = (*from, *from + HOUR);
        Box::new(move |dialect| questions::page(&dialect.range(from, to)))
    };
    OneByOne {
        requests: times.iter().map(|from| questions::hour(*from)).collect(),
        sql: times.iter().map(sql).collect(),
        lines: vec![(50, Line::new("a page of an hour nobody asked for before", 1.0, Some(10.0)))],
    }
}

impl OneByOne {
    pub(super) fn ask(mut self, server: &Server, peers: &mut [Peer], table: &mut Table) -> Result<(), Error> {
        let mut client = Client::new(server)?;
        // Whatever is read once of each file has been read then.
        client.ask(&questions::everything())?.json()?;
        let (mut times, mut rows) = (Vec::new(), Vec::new());
        for (number, request) in self.requests.iter().take(WARM_UP).chain(&self.requests).enumerate() {
            let answer = client.ask(request)?;
            let body = answer.json()?;
            if number >= WARM_UP {
                times.push(answer.took.as_secs_f64() * 1e3);
                rows.extend(questions::event_ids(&body));
            }
        }
        rows.sort();
        for (percent, line) in &mut self.lines {
            line.eye = percentile(&mut times, *percent);
        }
        for peer in peers {
            let (mut all, mut equal) = (Vec::new(), true);
            for name in peer.tables {
                let sql = self.sql.iter().map(|sql| sql(peer.dialect).replace("{events}", name));
                let answer = peer.engine.each(&sql.collect::<Vec<_>>(), WARM_UP)?;
                equal &= is_equal(&rows, &answer.rows, 1);
                all.push(answer.milliseconds);
            }
            for (percent, line) in &mut self.lines {
                let best = all.iter_mut().map(|times| percentile(times, *percent)).reduce(f64::min);
                line.peers.push(best.map(|best| (best, equal)));
            }
        }
        self.lines.into_iter().for_each(|(_, line)| table.add(line));
        Ok(())
    }
}
