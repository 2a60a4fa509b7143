//! Ports of running envs on which somebody listens.
//!
//! A guest doesn't tell when a program in it begins to listen. Whoever wants only the ports that answer has
//! guests asked: often after the env was started, then less and less often, once a minute at last, and no
//! longer when all ports have answered once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

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

/// Pauses between two questions: doubled from the first to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// The envs that are asked.
pub(super) struct RemoteAnswers {
    operations: Arc<Operations>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Those that run, with their ports, each until it stops.
    asked: HashMap<EnvRef, (Vec<GuestPort>, CancellationToken)>,
    answered: mpsc::UnboundedSender<Key>,
}

impl RemoteAnswers {
    /// Ports that answer come by the second value.
    pub(super) fn new(
        operations: Arc<Operations>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> (Self, mpsc::UnboundedReceiver<Key>) {
        let (answered, heard) = mpsc::unbounded_channel();
        let answers = Self {
            operations,
            tasks,
            shutdown,
            asked: HashMap::new(),
            answered,
        };
        (answers, heard)
    }

    /// Asks the envs that run. Tells which are asked no longer: what they answered is over.
    pub(super) fn ask(&mut self, envs: &[KnownEnv]) -> Vec<EnvRef> {
        let ports = |env: &KnownEnv| env.ports.iter().map(|(port, _)| *port).collect();
        let wanted: HashMap<&EnvRef, Vec<GuestPort>> = envs
            .iter()
            .filter(|env| env.up)
            .map(|env| (&env.env, ports(env)))
            .collect();
        let mut ended = Vec::new();
        self.asked.retain(|env, (ports, end)| {
            let keep = wanted.get(env) == Some(ports);
            if !keep {
                end.cancel();
            }
            // Other ports are asked for anew; those that have answered have.
            if !wanted.contains_key(env) {
                ended.push(env.clone());
            }
            keep
        });
        for (env, ports) in wanted {
            if self.asked.contains_key(env) || ports.is_empty() {
                continue;
            }
            let end = self.shutdown.child_token();
            self.asked.insert(env.clone(), (ports.clone(), end.clone()));
            let (operations, answered, env) =
                (self.operations.clone(), self.answered.clone(), env.clone());
            self.tasks.spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = until_all_answer(&operations, &env, ports, &answered) => {}
                }
            });
        }
        ended
    }
}

async fn until_all_answer(
    operations: &Arc<Operations>,
    env: &EnvRef,
    mut missing: Vec<GuestPort>,
    answered: &mpsc::UnboundedSender<Key>,
) {
    let mut pause = PAUSES.0;
    loop {
        match listening(operations, env).await {
            Ok(ports) => missing.retain(|port| {
                let listens = ports.contains(port);
                if listens {
                    // An end of the receiver is the end of the process.
                    let _ = answered.send((env.clone(), *port));
                }
                !listens
            }),
            Err(error) => tracing::debug!(?error, env = %env.env, "can't be asked what listens"),
        }
        if missing.is_empty() {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn listening(operations: &Arc<Operations>, env: &EnvRef) -> Result<Vec<GuestPort>> {
    let project = Project::open(Path::new(&env.project_path))?;
    let room = operations.of(&project)?;
    let running_env = room.enter(&project, &env.env).await?;
    let listeners = running_env.listeners().await?;
    Ok(listeners
        .into_iter()
        .map(|listener| listener.port)
        .collect())
}
