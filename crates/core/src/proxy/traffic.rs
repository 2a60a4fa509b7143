//! Traffic counters of forwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

/// Counters of an env port over all its listeners.
#[derive(Debug, Default)]
pub struct Traffic {
    http: AtomicUsize,
    other: AtomicUsize,
    total: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// Snapshot of the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct TrafficView {
    /// Open connections.
    pub open: usize,
    /// Open connections not known to be HTTP.
    pub open_other: usize,
    /// All connections so far.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub total: u64,
    /// Bytes from clients to the env.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub received: u64,
    /// Bytes from the env to clients.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub sent: u64,
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub(super) struct Open {
    traffic: Arc<Traffic>,
    http: bool,
}

/// Direction of bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direction {
    ToGuest,
    ToClient,
}

impl Traffic {
    /// Returns a snapshot.
    #[must_use]
    pub fn view(&self) -> TrafficView {
        let other = self.other.load(Ordering::Relaxed);
        TrafficView {
            open: other + self.http.load(Ordering::Relaxed),
            open_other: other,
            total: self.total.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    pub(super) fn open(self: &Arc<Self>, http: bool) -> Open {
        let open = Open {
            traffic: self.clone(),
            http,
        };
        self.total.fetch_add(1, Ordering::Relaxed);
        open.gauge().fetch_add(1, Ordering::Relaxed);
        open
    }

    pub(super) fn count(&self, direction: Direction, bytes: usize) {
        let counter = match direction {
            Direction::ToGuest => &self.received,
            Direction::ToClient => &self.sent,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl Open {
    fn gauge(&self) -> &AtomicUsize {
        if self.http {
            &self.traffic.http
        } else {
            &self.traffic.other
        }
    }

    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge().fetch_sub(1, Ordering::Relaxed);
    }
}
