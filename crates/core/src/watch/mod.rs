//! The live view: built from the engines' events, operations of this process, and changed files.
//!
//! Inside a process the view is state, a `watch` channel; a [`Subscription`] turns it into numbered
//! patches for another process. One task owns the view. Deliberately absent: polling.

mod diff;
mod files;
mod remote_engines;
mod sources;
mod state;
mod subscription;

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::operations::Operations;
use crate::view::{EnvRef, ForwardView, Outcome, View};

use sources::Input;
use state::ViewState;

pub use subscription::Subscription;

/// The current view; `None` until engines and files have been read once.
pub type ViewReceiver = watch::Receiver<Option<Arc<View>>>;

const OUTCOME_CAPACITY: usize = 256;

/// A handle to the live view.
#[derive(Clone)]
pub struct Watch {
    requests: mpsc::Sender<Request>,
    view: ViewReceiver,
    outcomes: broadcast::Sender<Outcome>,
}

enum Request {
    Dismiss(EnvRef),
    Forwards(watch::Receiver<Vec<ForwardView>>),
}

impl Watch {
    /// Starts the tasks that keep the view current. They end with the token; `tasks` waits for them.
    #[must_use]
    pub fn start(
        operations: Arc<Operations>,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let (requests, receiver) = mpsc::channel(16);
        let (inputs, changed) = mpsc::channel(256);
        let (view, current) = watch::channel(None);
        let outcomes = broadcast::Sender::new(OUTCOME_CAPACITY);
        sources::start(&operations, &inputs, tasks, &shutdown);
        let state = ViewState::new(
            operations,
            (view, outcomes.clone()),
            inputs,
            tasks.clone(),
            shutdown.clone(),
        );
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = run(state, receiver, changed) => {}
            }
        });
        Self {
            requests,
            view: current,
            outcomes,
        }
    }

    /// The view and its changes; the current value counts as a change.
    #[must_use]
    pub fn view(&self) -> ViewReceiver {
        let mut view = self.view.clone();
        view.mark_changed();
        view
    }

    /// Outcomes of operations from now on, each after the view shows its result.
    #[must_use]
    pub fn outcomes(&self) -> broadcast::Receiver<Outcome> {
        self.outcomes.subscribe()
    }

    /// Subscribes to the view as patches, starting with the full view.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.view(), self.outcomes())
    }

    /// Shows these forwards in the view, now and as they change.
    pub async fn show_forwards(&self, forwards: watch::Receiver<Vec<ForwardView>>) {
        // Fails only once the watch has ended.
        let _ = self.requests.send(Request::Forwards(forwards)).await;
    }

    /// Removes the last error of an env from the view.
    pub async fn dismiss(&self, env: EnvRef) {
        // Fails only once the watch has ended.
        let _ = self.requests.send(Request::Dismiss(env)).await;
    }
}

async fn run(
    mut state: ViewState,
    mut requests: mpsc::Receiver<Request>,
    mut changed: mpsc::Receiver<Input>,
) {
    state.refresh_all().await;
    let mut forwards = None;
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(Request::Dismiss(env)) => state.dismiss(&env),
                Some(Request::Forwards(receiver)) => {
                    state.set_forwards(receiver.borrow().clone());
                    forwards = Some(receiver);
                }
                None => return,
            },
            changed = changed_forwards(&mut forwards) => state.set_forwards(changed),
            input = changed.recv() => {
                let Some(first) = input else { return };
                // Applies all pending inputs at once.
                let mut batch = vec![first];
                while let Ok(more) = changed.try_recv() {
                    batch.push(more);
                }
                state.apply(batch).await;
            }
        }
    }
}

/// The forwards, once they have changed.
async fn changed_forwards(
    forwards: &mut Option<watch::Receiver<Vec<ForwardView>>>,
) -> Vec<ForwardView> {
    let Some(receiver) = forwards else {
        return std::future::pending().await;
    };
    match receiver.changed().await {
        Ok(()) => receiver.borrow_and_update().clone(),
        // Forwarding has ended.
        Err(_) => {
            *forwards = None;
            Vec::new()
        }
    }
}
