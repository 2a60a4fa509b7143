//! The event bus: numbered events for all subscribers of a process.
//!
//! Numbers rise by one. A subscriber that falls behind loses the oldest events, sees a gap in the numbers
//! and reads the full state again.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::backend::Step;
use crate::error::ErrorReport;
use crate::model::{OperationId, SnapshotName};
use crate::view::{EnvRef, OperationKind, Outcome};

const CAPACITY: usize = 1024;

/// A numbered event.
#[derive(Debug, Clone)]
pub struct Event {
    pub seq: u64,
    pub kind: EventKind,
}

/// What has happened.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// An operation has begun.
    Started {
        id: OperationId,
        env: EnvRef,
        kind: OperationKind,
        snapshot: Option<SnapshotName>,
        at: Timestamp,
    },
    /// A step of an operation.
    Progress {
        id: OperationId,
        env: EnvRef,
        step: Step,
    },
    /// A line that the user's setup script printed.
    Output { env: EnvRef, line: String },
    /// A step of work without an env, such as an image transfer.
    Step(Step),
    /// An operation has ended.
    Finished(Outcome),
    /// An operation could not begin.
    Refused { env: EnvRef, error: ErrorReport },
    /// A message for the user: a recovery, or a wait for another process.
    Notice(String),
}

/// Publishes events to all subscribers.
pub struct EventBus {
    sender: broadcast::Sender<Event>,
    next: AtomicU64,
}

impl Default for EventBus {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(CAPACITY).0,
            next: AtomicU64::new(1),
        }
    }
}

impl EventBus {
    /// Publishes an event. It is lost without subscribers.
    pub fn publish(&self, kind: EventKind) {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        // Fails only without subscribers.
        let _ = self.sender.send(Event { seq, kind });
    }

    /// Subscribes to events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn numbers_rise_by_one() {
        let bus = EventBus::default();
        let mut events = bus.subscribe();
        for text in ["a", "b", "c"] {
            bus.publish(EventKind::Notice(text.to_owned()));
        }
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(events.recv().await.unwrap().seq);
        }
        assert_eq!(seen, [1, 2, 3]);
    }
}
