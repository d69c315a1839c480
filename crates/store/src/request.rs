//! One request's entries on their way to the log, and what became of each.
//!
//! A session lives in one partition, so a request becomes one record per partition it touches. Each entry's result is
//! true on its own: a request is not a transaction over partitions.

use bytes::Bytes;
use eye_event::{BatchHeader, BatchWriter, EventRef, RejectionRef, partition_of};
use eye_fault::{Sabotage, sabotaged};
use eye_log::{Offset, PartitionId};

/// One of several partitions is expected to get this part of its share more.
const SPREAD_DIVISOR: usize = 4;

/// What became of one entry of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Stored as a new event: durable, and in every answer from now on.
    Stored {
        /// Its partition.
        partition: PartitionId,
        /// Its place in it.
        offset: Offset,
    },
    /// An event with the same identity was stored within the dedup window.
    Duplicate,
    /// Refused, and kept as a rejection.
    Rejected {
        /// The partition that keeps it.
        partition: PartitionId,
        /// Its place in it.
        offset: Offset,
    },
}

/// Where an entry went: the partition, the index in its record, and whether it is an event.
#[derive(Clone, Copy, Debug)]
struct Place {
    partition: u16,
    index: u32,
    is_event: bool,
}

/// The entries of one request, in order.
#[derive(Debug)]
pub struct Request {
    application: String,
    token: String,
    received_at: eye_event::Timestamp,
    /// Of one record.
    bytes_hint: usize,
    writers: Vec<Option<BatchWriter>>,
    places: Vec<Place>,
}

impl Request {
    /// An empty request. `partitions` is the store's number of them, `bytes_hint` a guess of what the entries take: see
    /// [`eye_event::event_bytes`].
    #[must_use]
    pub fn new(header: &BatchHeader<'_>, partitions: u16, bytes_hint: usize) -> Self {
        let partitions = partitions.max(1);
        let share = bytes_hint / usize::from(partitions);
        Self {
            application: header.application.to_owned(),
            token: header.token.to_owned(),
            received_at: header.received_at,
            // By chance some partitions get more than their share.
            bytes_hint: if partitions == 1 { share } else { share + share / SPREAD_DIVISOR },
            writers: (0..partitions).map(|_| None).collect(),
            places: Vec::new(),
        }
    }

    /// Adds an event; it goes to its session's partition.
    pub fn push_event(&mut self, event: &EventRef<'_>) {
        #[expect(clippy::cast_possible_truncation, reason = "made from a u16")]
        let partition = partition_of(event.session_id, self.writers.len() as u16);
        let index = self.writer(partition).push_event(event);
        self.places.push(Place { partition, index, is_event: true });
    }

    /// Adds a rejection; it goes to the first partition.
    pub fn push_rejection(&mut self, rejection: &RejectionRef<'_>) {
        let index = self.writer(0).push_rejection(rejection);
        self.places.push(Place { partition: 0, index, is_event: false });
    }

    /// Entries so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True if there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of its records so far.
    pub(crate) fn bytes_len(&self) -> usize {
        self.writers.iter().flatten().map(BatchWriter::bytes_len).sum()
    }

    fn writer(&mut self, partition: u16) -> &mut BatchWriter {
        let Self { writers, application, token, received_at, bytes_hint, .. } = self;
        writers[usize::from(partition)].get_or_insert_with(|| {
            BatchWriter::new(&BatchHeader { application, token, received_at: *received_at }, *bytes_hint)
        })
    }

    /// The records to append, and what is needed to tell each entry's outcome afterwards.
    pub(crate) fn into_records(self) -> (Vec<(PartitionId, Bytes, u32)>, Places) {
        let records = (0_u16..)
            .zip(self.writers)
            .filter_map(|(partition, writer)| Some((PartitionId(partition), writer?)))
            .map(|(partition, writer)| {
                let count = writer.count();
                (partition, writer.finish(), count)
            })
            .collect();
        (records, Places(self.places))
    }
}

/// What apply found in one record: its first offset, and the indexes of the duplicates (sorted).
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) first: Offset,
    pub(crate) duplicates: Vec<u32>,
}

/// The way back from records to entries.
pub(crate) struct Places(Vec<Place>);

impl Places {
    /// The outcome of each entry, in the request's order.
    pub(crate) fn outcomes(&self, applied: &[(PartitionId, Applied)]) -> Vec<Outcome> {
        let outcome = |place: &Place| {
            let partition = PartitionId(place.partition);
            let (_, record) = applied.iter().find(|(of, _)| *of == partition)?;
            let wrong = u64::from(sabotaged(Sabotage::AnswerWrongOffset));
            let offset = record.first.plus(u64::from(place.index) + wrong);
            let is_duplicate = record.duplicates.binary_search(&place.index).is_ok();
            Some(match place.is_event {
                false => Outcome::Rejected { partition, offset },
                true if is_duplicate && !sabotaged(Sabotage::StoredForDuplicate) => Outcome::Duplicate,
                true => Outcome::Stored { partition, offset },
            })
        };
        self.0.iter().filter_map(outcome).collect()
    }
}

#[cfg(test)]
mod tests {
    use eye_event::{Problems, Timestamp};

    use super::*;

    #[test]
    fn the_records_of_a_request_take_no_more_memory_than_it_is_large_whatever_partitions_it_touches() {
        const NOW: Timestamp = Timestamp::from_micros(1_764_000_000_000_000);
        for (partitions, events) in [(1, 40), (4, 40), (16, 40), (16, 1)] {
            let hint = events * 1_000;
            let header = BatchHeader { application: "web", token: "t", received_at: NOW };
            let mut request = Request::new(&header, partitions, hint);
            for number in 0..events {
                request.push_event(&EventRef {
                    event_id: "e",
                    session_id: &format!("session-{number}"),
                    category: "c",
                    name: "n",
                    timestamp: NOW,
                    timestamp_raw: None,
                    sent_at: None,
                    user_id: None,
                    anonymous_id: None,
                    data: &"x".repeat(900),
                    context: None,
                    problems: Problems::NONE,
                });
            }
            let records = request.into_records().0;
            let held: usize =
                records.into_iter().map(|(_, payload, _)| payload.try_into_mut().unwrap().capacity()).sum();
            assert!(held <= hint * 3 / 2, "{held} bytes for {hint} in {partitions} partitions");
        }
    }
}
