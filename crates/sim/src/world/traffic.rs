//! Requests, made up from the seed and sent one after the other or together.
//!
//! The rule: an answer is exactly what the model says, and what was not answered may be there or not, in order.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use eye_event::{Problem, Problems, Timestamp, partition_of};
use eye_store::{Kind, Outcome};
use rand::Rng as _;

use super::{SECOND, SESSIONS, World};
use crate::check::{Wrong, require, wrong};
use crate::model::{Entry, Event, PARTITIONS, Sent};

type Answer = Pin<Box<dyn Future<Output = eye_store::Result<Vec<Outcome>>> + Send>>;

impl World {
    pub(super) fn request(&mut self, size: usize, partition: Option<u16>) -> Sent {
        self.now += self.random.random_range(0..SECOND);
        self.highest = self.highest.max(self.now);
        self.tick();
        let mut entries = Vec::with_capacity(size);
        while entries.len() < size {
            if self.random.random_bool(0.05) && partition.is_none_or(|partition| partition == 0) {
                entries.push(Entry::Rejection(format!("{{ not json {}", self.random.random_range(0..100))));
                continue;
            }
            let event = self.event();
            if partition.is_none_or(|partition| partition_of(&event.session_id, PARTITIONS) == partition) {
                entries.push(Entry::Event(event));
            }
        }
        Sent {
            application: self.pick(&["web", "app"]),
            token: self.pick(&["t1", "t2", "t3"]),
            received_at: Timestamp::from_micros(self.now),
            entries,
        }
    }

    fn event(&mut self) -> Event {
        self.fresh += 1;
        let event_id = match self.random.random_bool(0.5) {
            true => format!("event-{}", self.random.random_range(0..30)),
            false => format!("0190f3b2-7b7e-7000-8000-{:012x}", self.fresh),
        };
        // Late by years, exactly now, or in the future.
        let timestamp = self.now
            + match self.random.random_range(0..4) {
                0 => 0,
                1 => -self.random.random_range(0..600 * SECOND),
                2 => -self.random.random_range(0..100_000_000 * SECOND),
                _ => self.random.random_range(0..100_000_000 * SECOND),
            };
        let is_odd = self.random.random_bool(0.1);
        let length = if self.random.random_bool(0.05) { self.random.random_range(0..3000) } else { 5 };
        Event {
            event_id,
            session_id: format!("session-{}", self.random.random_range(0..SESSIONS)),
            name: self.pick(&["view", "click", "größer", "покупка"]).to_owned(),
            timestamp: Timestamp::from_micros(timestamp),
            timestamp_raw: is_odd.then(|| "yesterday".to_owned()),
            sent_at: self.random.random_bool(0.3).then(|| Timestamp::from_micros(self.now - SECOND)),
            user_id: self.random.random_bool(0.3).then(|| format!("user-{}", self.fresh % 7)),
            data: format!(r#"{{"n":{},"x":"{}"}}"#, self.fresh, "y".repeat(length)),
            context: self.random.random_bool(0.2).then(|| r#"{"library":"sim"}"#.to_owned()),
            problems: if is_odd { Problems::NONE.with(Problem::TimestampUnreadable) } else { Problems::NONE },
        }
    }

    /// Sends a request that must be acknowledged, exactly as the model says.
    pub(super) fn send(&mut self, sent: &Sent) -> Result<(), Wrong> {
        let store = &self.node.up().map_err(wrong)?.store;
        let answer = self.node.runtime.block_on(store.ingest(sent.request()));
        let outcomes = answer.map_err(|error| format!("a request was refused although nothing is wrong: {error}"))?;
        self.compare(sent, &outcomes)
    }

    fn compare(&mut self, sent: &Sent, outcomes: &[Outcome]) -> Result<(), Wrong> {
        let expected = self.model.take(sent);
        let stored = expected.iter().filter(|outcome| matches!(outcome, Outcome::Stored { .. })).count();
        self.trace.push(format!("  {} entries, {stored} stored", expected.len()));
        match outcomes.iter().zip(&expected).position(|(found, expected)| found != expected) {
            Some(at) => {
                let entry = &sent.entries[at];
                Err(format!("the answer is {:?} and must be {:?} for {entry:?}", outcomes[at], expected[at]))
            }
            None => require(outcomes.len() == expected.len(), || format!("{} answers", outcomes.len())),
        }
    }

    /// Sends requests to one partition, whose log may refuse them. True if one found it full.
    pub(super) fn send_some(&mut self, partition: u16, requests: usize, may_break: bool) -> Result<bool, Wrong> {
        let mut is_full = false;
        for _ in 0..requests {
            let size = self.size();
            let sent = self.request(size, Some(partition));
            let store = &self.node.up().map_err(wrong)?.store;
            match self.node.runtime.block_on(store.ingest(sent.request())) {
                Ok(outcomes) => self.compare(&sent, &outcomes)?,
                Err(error) if error.kind() == Kind::Full => {
                    self.trace.push("  full".to_owned());
                    is_full = true;
                }
                Err(error) if may_break => {
                    self.trace.push(format!("  not acknowledged: {:?}", error.kind()));
                    require(store.ready().is_err(), || "the log is broken and the store is ready".to_owned())?;
                    self.unsure[usize::from(partition)].push(sent);
                }
                Err(error) => return Err(format!("a full disk must only be full: {error}")),
            }
        }
        Ok(is_full)
    }

    /// Queues requests while no sync ends: the first of each partition is a group of its own, the others the next.
    fn queue(&mut self, sizes: &[usize]) -> Result<Vec<(Sent, Answer)>, Wrong> {
        self.node.disks.iter().for_each(eye_log::disk::sim::SimDisk::hold_syncs);
        let mut waiting = Vec::new();
        for size in sizes {
            let sent = self.request(*size, None);
            let store = self.node.up().map_err(wrong)?.store.clone();
            let request = sent.request();
            let mut answer: Answer = Box::pin(async move { store.ingest(request).await });
            let once = poll_fn(|context| Poll::Ready(answer.as_mut().poll(context)));
            if let Poll::Ready(early) = self.node.runtime.block_on(once) {
                return Err(format!("answered before it was durable: {early:?}"));
            }
            for (partition, disk) in (0..PARTITIONS).zip(&self.node.disks) {
                if sent.record(partition).is_some() {
                    disk.wait_for_held_sync();
                }
            }
            waiting.push((sent, answer));
        }
        Ok(waiting)
    }

    pub(super) fn ingest_together(&mut self, sizes: &[usize]) -> Result<(), Wrong> {
        let waiting = self.queue(sizes)?;
        self.node.disks.iter().for_each(eye_log::disk::sim::SimDisk::release_syncs);
        for (sent, answer) in waiting {
            let outcomes = self.node.runtime.block_on(answer).map_err(wrong)?;
            self.compare(&sent, &outcomes)?;
        }
        Ok(())
    }

    pub(super) fn crash_in_ingest(&mut self, sizes: &[usize], power: Option<u64>) -> Result<(), Wrong> {
        let waiting = self.queue(sizes)?;
        self.node.crash(power);
        for (sent, answer) in waiting {
            if let Ok(outcomes) = self.node.runtime.block_on(answer) {
                return Err(format!("acknowledged before it was durable: {outcomes:?}"));
            }
            for partition in 0..PARTITIONS {
                self.unsure[usize::from(partition)].extend(sent.record(partition));
            }
        }
        self.reopen()
    }
}
