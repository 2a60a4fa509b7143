//! Ports of running envs on which somebody answers.
//!
//! A guest doesn't tell when a program in it begins to listen. Whoever wants only the ports that answer has
//! them tried: often after the env was started, then less and less often, once a minute at last.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::KnownEnv;
use super::store::Key;
use super::ways::Ways;

/// Pauses between two tries: doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The ports that are tried, and those that have answered.
pub(super) struct Answers {
    ways: Arc<Ways>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Those that run, each until its env stops.
    tried: HashMap<Key, CancellationToken>,
    answered: mpsc::UnboundedSender<Key>,
}

impl Answers {
    /// Those that answer come by the second value.
    pub(super) fn new(
        ways: Arc<Ways>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (answered, heard) = mpsc::unbounded_channel();
        let answers = Self {
            ways,
            tasks,
            shutdown,
            tried: HashMap::new(),
            answered,
        };
        (answers, heard)
    }

    /// Tries the ports of envs that run, each until it answers once; forgets those of envs that don't.
    /// Tells which are to be tried no longer.
    pub(super) fn try_these(&mut self, envs: &[KnownEnv]) -> Vec<Key> {
        let up = envs.iter().filter(|env| env.up);
        let wanted: Vec<Key> = up
            .flat_map(|env| env.ports.iter().map(|(port, _)| (env.env.clone(), *port)))
            .collect();
        let mut ended = Vec::new();
        self.tried.retain(|key, end| {
            let keep = wanted.contains(key);
            if !keep {
                end.cancel();
                ended.push(key.clone());
            }
            keep
        });
        for key in wanted {
            if self.tried.contains_key(&key) {
                continue;
            }
            let end = self.shutdown.child_token();
            self.tried.insert(key.clone(), end.clone());
            let (ways, answered) = (self.ways.clone(), self.answered.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = until_it_answers(&ways, &key) => {
                        // An end of the receiver is the end of the process.
                        let _ = answered.send(key);
                    }
                }
            });
        }
        ended
    }
}

async fn until_it_answers(ways: &Arc<Ways>, (env, port): &Key) {
    let mut pause = PAUSES.0;
    while let Err(error) = ways.dial(env, *port).await {
        tracing::trace!(%error, env = %env.env, %port, "no answer");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}
