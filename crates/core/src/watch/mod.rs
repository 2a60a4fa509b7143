//! The living view: folded from the engines' events, our own operations, and changed files.
//!
//! Invariants: nothing is polled; a patch is sent only for what differs; patches are numbered, and a
//! subscriber gets the whole view first. One task owns the view; [`Watch`] only talks to it.

mod diff;
mod files;
mod fold;
mod remote_engines;
mod sources;

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::operations::Operations;
use crate::view::{EnvRef, ForwardView, ViewEvent};

use fold::Fold;
use sources::Input;

/// Patches that a slow subscriber may fall behind before it is dropped.
const BACKLOG: usize = 4096;

/// A handle on the living view.
#[derive(Clone)]
pub struct Watch {
    orders: mpsc::Sender<Order>,
}

/// What the owner of the view is asked.
enum Order {
    Subscribe(oneshot::Sender<mpsc::Receiver<ViewEvent>>),
    Dismiss(EnvRef),
    Forwards(watch::Receiver<Vec<ForwardView>>),
}

impl Watch {
    /// Starts folding. The tasks end with the token; `tasks` waits for them.
    #[must_use]
    pub fn start(
        operations: Arc<Operations>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (orders, receiver) = mpsc::channel(16);
        let (inputs, changed) = mpsc::channel(256);
        sources::start(&operations, &inputs, tasks, &shutdown);
        let fold = Fold::new(operations, inputs, tasks.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = run(fold, receiver, changed) => {}
            }
        });
        Self { orders }
    }

    /// The whole view as patches from `Reset` to `Ready`, then what changes. The channel ends when
    /// the subscriber falls too far behind, or with the watch: subscribe again.
    ///
    /// Returns `None` when the watch has ended.
    pub async fn subscribe(&self) -> Option<mpsc::Receiver<ViewEvent>> {
        let (answer, receiver) = oneshot::channel();
        self.orders.send(Order::Subscribe(answer)).await.ok()?;
        receiver.await.ok()
    }

    /// Shows what is forwarded, from now on and as it changes.
    pub async fn show_forwards(&self, forwards: watch::Receiver<Vec<ForwardView>>) {
        // Where the watch has ended, nobody shows it any more.
        let _ = self.orders.send(Order::Forwards(forwards)).await;
    }

    /// Forgets what went wrong last with an env.
    pub async fn dismiss(&self, env: EnvRef) {
        // Where the watch has ended, nobody shows it any more.
        let _ = self.orders.send(Order::Dismiss(env)).await;
    }
}

async fn run(
    mut fold: Fold,
    mut orders: mpsc::Receiver<Order>,
    mut changed: mpsc::Receiver<Input>,
) {
    fold.refresh_all().await;
    let mut forwards = None;
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Subscribe(answer)) => {
                    // A caller that is gone doesn't want it any more.
                    let _ = answer.send(fold.subscribe());
                }
                Some(Order::Dismiss(env)) => fold.dismiss(&env),
                Some(Order::Forwards(told)) => {
                    fold.forwarded(told.borrow().clone());
                    forwards = Some(told);
                }
                None => return,
            },
            told = changed_forwards(&mut forwards) => fold.forwarded(told),
            input = changed.recv() => {
                let Some(first) = input else { return };
                // What has piled up meanwhile is folded in one go.
                let mut batch = vec![first];
                while let Ok(more) = changed.try_recv() {
                    batch.push(more);
                }
                fold.take(batch).await;
            }
        }
    }
}

/// What is forwarded, when that has changed.
async fn changed_forwards(
    forwards: &mut Option<watch::Receiver<Vec<ForwardView>>>,
) -> Vec<ForwardView> {
    let Some(told) = forwards else {
        return std::future::pending().await;
    };
    match told.changed().await {
        Ok(()) => told.borrow_and_update().clone(),
        // Nothing is forwarded any more.
        Err(_) => {
            *forwards = None;
            Vec::new()
        }
    }
}
