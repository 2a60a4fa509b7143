//! The event bus: what happens, numbered, to everyone who listens.
//!
//! Numbers rise by one for each event of a process. A listener that falls behind loses the oldest
//! events and sees the gap in the numbers; it then reads the whole state again.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::backend::Step;
use crate::error::ErrorReport;
use crate::model::{OperationId, SnapshotName};
use crate::view::{EnvRef, OperationKind, Outcome};

/// Events that a slow listener may fall behind.
const CAPACITY: usize = 1024;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its number.
    pub seq: u64,
    /// What it was.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// An operation began.
    Started {
        /// Its id.
        id: OperationId,
        /// On which env.
        env: EnvRef,
        /// What is done.
        kind: OperationKind,
        /// The snapshot that it is about.
        snapshot: Option<SnapshotName>,
        /// When.
        at: Timestamp,
    },
    /// An operation is at another step.
    Progress {
        /// Its id.
        id: OperationId,
        /// On which env.
        env: EnvRef,
        /// The step.
        step: Step,
    },
    /// What a script of the user's prints in an env, a line at a time.
    Output {
        /// In which env.
        env: EnvRef,
        /// The line, without its end.
        line: String,
    },
    /// Work that concerns no env (an image on its way) is at another step.
    Step(Step),
    /// An operation ended.
    Finished(Outcome),
    /// Something was asked of an env that could not even begin.
    Refused {
        /// Of which env.
        env: EnvRef,
        /// Why.
        error: ErrorReport,
    },
    /// Something that the user should know: a recovery, a wait for somebody else.
    Notice(String),
}

/// Hands events to everyone who listens.
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
    /// Tells everyone. Without a listener it is forgotten.
    pub fn publish(&self, kind: EventKind) {
        let seq = self.next.fetch_add(1, Ordering::Relaxed);
        // An error only says that nobody listens.
        let _ = self.sender.send(Event { seq, kind });
    }

    /// Events from now on.
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
