//! Detects ports with a listener in running envs.
//!
//! Guests send no events for new listeners, so they are polled: often after the start, then with growing intervals,
//! until all ports have a listener.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::KnownEnv;
use super::store::Key;
use crate::error::Result;
use crate::model::GuestPort;
use crate::operations::Operations;
use crate::project::Project;
use crate::view::EnvRef;

const POLL_BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(60))
    .without_max_times();

pub(super) struct ListenerProbe {
    operations: Arc<Operations>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Probed envs with their ports.
    probed: HashMap<EnvRef, (Vec<GuestPort>, CancellationToken)>,
    detected: mpsc::UnboundedSender<Key>,
}

impl ListenerProbe {
    /// Also returns the channel of detected ports.
    pub(super) fn new(
        operations: Arc<Operations>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (detected, receiver) = mpsc::unbounded_channel();
        let probe = Self {
            operations,
            tasks,
            shutdown,
            probed: HashMap::new(),
            detected,
        };
        (probe, receiver)
    }

    /// Probes exactly the running envs. Returns those no longer probed, whose results are void.
    pub(super) fn set_envs(&mut self, envs: &[KnownEnv]) -> Vec<EnvRef> {
        let ports = |env: &KnownEnv| env.ports.iter().map(|(port, _)| *port).collect();
        let wanted: HashMap<&EnvRef, Vec<GuestPort>> = envs
            .iter()
            .filter(|env| env.running)
            .map(|env| (&env.env, ports(env)))
            .collect();
        let mut ended = Vec::new();
        self.probed.retain(|env, (ports, stop)| {
            let retain = wanted.get(env) == Some(ports);
            if !retain {
                stop.cancel();
            }
            // An env with changed ports is probed again; earlier results stay valid.
            if !wanted.contains_key(env) {
                ended.push(env.clone());
            }
            retain
        });
        for (env, ports) in wanted {
            if self.probed.contains_key(env) || ports.is_empty() {
                continue;
            }
            let stop = self.shutdown.child_token();
            self.probed
                .insert(env.clone(), (ports.clone(), stop.clone()));
            let (operations, detected, env) =
                (self.operations.clone(), self.detected.clone(), env.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = probe(&operations, &env, ports, &detected) => {}
                }
            });
        }
        ended
    }
}

async fn probe(
    operations: &Arc<Operations>,
    env: &EnvRef,
    mut missing: Vec<GuestPort>,
    detected: &mpsc::UnboundedSender<Key>,
) {
    for delay in POLL_BACKOFF.build() {
        match list_listening(operations, env).await {
            Ok(ports) => missing.retain(|port| {
                let listens = ports.contains(port);
                if listens {
                    // Fails only at shutdown.
                    let _ = detected.send((env.clone(), *port));
                }
                !listens
            }),
            Err(error) => tracing::debug!(?error, env = %env.env, "cannot list listeners"),
        }
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(delay).await;
    }
}

async fn list_listening(operations: &Arc<Operations>, env: &EnvRef) -> Result<Vec<GuestPort>> {
    let project = Project::open(Path::new(&env.project_path))?;
    let operations = operations.for_project(&project)?;
    let running_env = operations.running_env(&project, &env.env).await?;
    let listeners = running_env.listeners().await?;
    Ok(listeners
        .into_iter()
        .map(|listener| listener.port)
        .collect())
}
