//! Lending a socket of this host, the SSH agent's, to an env while a command runs there.
//!
//! The env's lock is held only while the forward begins and ends: the command may run for days. The journal
//! is owned for all of that time; where its owner is killed, the next change takes the forward back.

use std::path::Path;
use std::sync::Arc;

use super::Operations;
use super::journal::{Detail, Journal};
use super::lock::EnvLock;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, SocketForward};
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::model::{EnvName, InstanceName, UserName};
use crate::project::Project;
use crate::provision;
use crate::view::OperationKind;

/// A socket that is forwarded, until [`Operations::end_socket_forward`].
pub struct ForwardedSocket {
    backend: Arc<dyn Backend>,
    instance: InstanceName,
    forward: SocketForward,
    journal: Journal,
}

impl ForwardedSocket {
    /// Where the env's user finds it.
    #[must_use]
    pub fn guest_path(&self) -> &str {
        &self.forward.guest
    }
}

impl Operations {
    /// Lets the user of a running env use a Unix socket of this host.
    ///
    /// # Errors
    /// `Unsupported` for an engine on another machine; `Conflict` where the env doesn't run.
    pub async fn forward_socket(
        &self,
        project: &Project,
        env: &EnvName,
        user: &UserName,
        socket: &Path,
    ) -> Result<ForwardedSocket> {
        let failed =
            |error: Error| error.context(format!("cannot forward a socket to `{env}`"));
        let begun = self
            .begin(project, env, OperationKind::ForwardSocket, None)
            .await;
        let mut operation = begun.map_err(failed)?;
        let result = self
            .forward_socket_steps(project, env, user, socket, &mut operation)
            .await;
        self.end(operation, result.map_err(failed))
    }

    async fn forward_socket_steps(
        &self,
        project: &Project,
        env: &EnvName,
        user: &UserName,
        socket: &Path,
        operation: &mut Operation,
    ) -> Result<ForwardedSocket> {
        let (resolved, _) = self.resolve_running(&project.fresh()?, env).await?;
        let ResolvedEnv { backend, instance } = resolved;
        let instance = instance.name;
        let (uid, gid) = provision::user_ids(backend.as_ref(), &instance, user).await?;
        let name = format!("{}{}", SocketForward::PREFIX, operation.id.short());
        let forward = SocketForward {
            guest: format!("/tmp/{name}.sock"),
            host: socket.to_path_buf(),
            uid,
            gid,
            name,
        };
        operation.detail = Some(Detail::ForwardedSocket {
            name: forward.name.clone(),
        });
        let journal = self.journal(operation, backend.as_ref(), &instance, false)?;
        let forwarded = ForwardedSocket {
            backend,
            instance,
            forward,
            journal,
        };
        match forwarded
            .backend
            .forward_socket(&forwarded.instance, &forwarded.forward)
            .await
        {
            Ok(()) => Ok(forwarded),
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                if forwarded.end().await.is_err() {
                    tracing::warn!("a forward could not be taken back");
                }
                Err(error)
            }
        }
    }

    /// Ends a forward. What can't be taken back now is by the next change.
    ///
    /// # Errors
    /// The engine's.
    pub async fn end_socket_forward(&self, forwarded: ForwardedSocket) -> Result<()> {
        let waiting = |text| self.bus().publish(EventKind::Notice(text));
        let _lock = EnvLock::take(
            self.home(),
            &forwarded.instance,
            OperationKind::ForwardSocket,
            waiting,
        )
        .await?;
        forwarded.end().await
    }
}

impl ForwardedSocket {
    async fn end(self) -> Result<()> {
        let name = &self.forward.name;
        self.backend
            .end_socket_forward(&self.instance, name)
            .await?;
        self.journal.close();
        Ok(())
    }
}
