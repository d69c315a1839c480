//! Room for connections: so many at once, and who makes room when all of it is taken.
//!
//! The rule: a connection on which no request has begun for [`SILENT_MIN`] never keeps another one out. So sockets that
//! are opened and left alone cost their owner a reconnect, and nobody else a wait. A connection that has begun a
//! request is safe.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// A new connection has this long to begin a request before it may have to make room.
const SILENT_MIN: Duration = Duration::from_secs(1);
/// One that was told to leave is looked at this often, as long as it neither went nor began a request.
const LEAVING_LOOK: Duration = Duration::from_millis(5);

/// What is known of one connection.
#[derive(Debug, Default)]
pub(super) struct Life {
    begun: AtomicU64,
    leave: Notify,
}

impl Life {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests have begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Done when the connection is to make room, if it is still silent by then.
    pub(super) async fn is_to_leave(&self) {
        loop {
            self.leave.notified().await;
            if self.begun() == 0 {
                return;
            }
        }
    }
}

/// The room, and those who are silent in it.
pub(super) struct Slots {
    free: Arc<Semaphore>,
    max: usize,
    /// With when they came, the oldest first. Those who have begun since, or have gone, are taken out when they are met.
    silent: VecDeque<(Instant, Weak<Life>)>,
}

impl Slots {
    /// Room for `max` connections.
    pub(super) fn new(max: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(max)), max, silent: VecDeque::new() }
    }

    /// Room for one more. If there is none, the oldest silent connection is told to leave when its time has come; the
    /// next one only if that one begins a request in this very moment, and so stays.
    /// Dropping the future takes nothing, but whoever was told to leave goes all the same.
    pub(super) async fn take(&mut self) -> Option<OwnedSemaphorePermit> {
        while self.free.available_permits() == 0 {
            let Some((came, oldest)) = self.oldest_silent() else { break };
            if let Ok(slot) = timeout_at(came + SILENT_MIN, Arc::clone(&self.free).acquire_owned()).await {
                return slot.ok();
            }
            if oldest.begun() > 0 {
                continue;
            }
            self.silent.pop_front();
            oldest.leave.notify_one();
            while oldest.begun() == 0 {
                if let Ok(slot) = timeout(LEAVING_LOOK, Arc::clone(&self.free).acquire_owned()).await {
                    return slot.ok();
                }
            }
        }
        // It is never closed.
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// A new connection, on which no request has begun.
    pub(super) fn note_silent(&mut self, life: &Arc<Life>) {
        if self.silent.len() >= self.max.saturating_mul(2) {
            self.silent.retain(|(_, life)| life.upgrade().is_some_and(|life| life.begun() == 0));
        }
        self.silent.push_back((Instant::now(), Arc::downgrade(life)));
    }

    fn oldest_silent(&mut self) -> Option<(Instant, Arc<Life>)> {
        loop {
            let (came, life) = self.silent.front()?;
            if let Some(life) = life.upgrade().filter(|life| life.begun() == 0) {
                return Some((*came, life));
            }
            self.silent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_silent_connection_makes_room() {
        let mut slots = Slots::new(2);
        let lives: Vec<_> = (0..2).map(|_| Arc::new(Life::default())).collect();
        let mut held = Vec::new();
        for life in &lives {
            held.push(slots.take().await);
            slots.note_silent(life);
        }
        lives[0].begin();
        let leaving = {
            let life = Arc::clone(&lives[1]);
            let slot = held.pop();
            tokio::spawn(async move {
                life.is_to_leave().await;
                drop(slot);
            })
        };
        assert!(slots.take().await.is_some());
        leaving.await.unwrap();
        assert!(slots.oldest_silent().is_none(), "nobody else is silent");
    }

    #[tokio::test]
    async fn if_the_oldest_begins_when_it_is_told_to_leave_the_next_one_makes_room() {
        let mut slots = Slots::new(2);
        let (first, second) = (Arc::new(Life::default()), Arc::new(Life::default()));
        let first_slot = slots.take().await;
        slots.note_silent(&first);
        let second_slot = slots.take().await;
        slots.note_silent(&second);
        let staying = tokio::spawn(async move {
            first.leave.notified().await;
            first.begin();
            first_slot
        });
        let leaving = tokio::spawn(async move {
            second.is_to_leave().await;
            drop(second_slot);
        });
        let taken = timeout(Duration::from_secs(30), slots.take()).await;
        assert!(taken.is_ok_and(|slot| slot.is_some()), "the newcomer waits for the one that stays");
        leaving.await.unwrap();
        assert!(staying.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_connection_that_has_begun_meanwhile_stays() {
        let life = Life::default();
        life.leave.notify_one();
        life.begin();
        let leaves = tokio::time::timeout(Duration::from_millis(10), life.is_to_leave());
        assert!(leaves.await.is_err());
    }

    #[test]
    fn those_who_went_are_forgotten() {
        let mut slots = Slots::new(2);
        for _ in 0..1_000 {
            slots.note_silent(&Arc::new(Life::default()));
        }
        assert!(slots.silent.len() <= 4);
    }
}
