//! The view as numbered patches, for one connection.

use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::ViewReceiver;
use super::diff::{diff, full_patches};
use crate::view::{Outcome, View, ViewEvent, ViewPatch};

/// Yields the full view first, then the changes since the last call.
pub struct Subscription {
    view: ViewReceiver,
    outcomes: broadcast::Receiver<Outcome>,
    sent: Option<Arc<View>>,
    seq: u64,
}

impl Subscription {
    pub(super) fn new(view: ViewReceiver, outcomes: broadcast::Receiver<Outcome>) -> Self {
        Self {
            view,
            outcomes,
            sent: None,
            seq: 0,
        }
    }

    /// The next events; `None` once the watch has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<Vec<ViewEvent>> {
        loop {
            let outcome = tokio::select! {
                biased;
                changed = self.view.changed() => {
                    changed.ok()?;
                    None
                }
                outcome = self.outcomes.recv() => match outcome {
                    Ok(outcome) => Some(outcome),
                    // Lost outcomes are acceptable: the state stays complete.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return None,
                },
            };
            // An outcome follows the state that it led to.
            let mut patches = self.patches();
            if self.sent.is_some() {
                patches.extend(outcome.map(|outcome| ViewPatch::Finished { outcome }));
            }
            if !patches.is_empty() {
                return Some(
                    patches
                        .into_iter()
                        .map(|patch| self.number(patch))
                        .collect(),
                );
            }
        }
    }

    fn patches(&mut self) -> Vec<ViewPatch> {
        let Some(view) = self.view.borrow_and_update().clone() else {
            return Vec::new();
        };
        let patches = match &self.sent {
            None => full_patches(&view),
            Some(sent) => diff(sent, &view),
        };
        self.sent = Some(view);
        patches
    }

    fn number(&mut self, patch: ViewPatch) -> ViewEvent {
        self.seq += 1;
        let seq = self.seq;
        ViewEvent { seq, patch }
    }
}
