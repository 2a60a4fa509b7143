//! Forwarding a socket of this host, the SSH agent's, into an env while a command runs there.
//!
//! The command may run for days, so the env is locked only to start and end the forward. The journal is
//! held all the time; if its owner is killed, recovery ends the forward. A second process of the command waits for that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Operations;
use super::journal::{Detail, Journal};
use super::lock::EnvLock;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, SocketForward};
use crate::error::{Error, Result};
use crate::model::{EnvName, InstanceName, OperationId, UserName};
use crate::project::Project;
use crate::provision;
use crate::view::OperationKind;

const OWNER_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A forwarded socket, until [`Operations::end_socket_forward`].
pub struct ForwardedSocket {
    backend: Arc<dyn Backend>,
    instance: InstanceName,
    forward: SocketForward,
    journal: Journal,
}

impl ForwardedSocket {
    /// Path of the socket in the guest.
    #[must_use]
    pub fn guest_path(&self) -> &str {
        &self.forward.guest
    }

    /// The operation that forwards it, for [`Operations::end_orphaned_forward`].
    #[must_use]
    pub fn id(&self) -> &OperationId {
        &self.journal.record.id
    }
}

impl Operations {
    /// Forwards a Unix socket of this host to the user of a running env.
    ///
    /// # Errors
    /// `Unsupported` for a remote engine; `Conflict` if the env is not running.
    pub async fn forward_socket(
        &self,
        project: &Project,
        env: &EnvName,
        user: &UserName,
        socket: &Path,
    ) -> Result<ForwardedSocket> {
        let failed = |error: Error| error.context(format!("cannot forward a socket to `{env}`"));
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
        let (resolved, _) = self.resolve_running(&project.reopen()?, env).await?;
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
                    tracing::warn!("cannot end a socket forward");
                }
                Err(error)
            }
        }
    }

    /// Waits until a forward has ended, and ends it if its owner was killed.
    ///
    /// # Errors
    /// Those of [`Self::recover`].
    pub async fn end_orphaned_forward(&self, id: &OperationId) -> Result<()> {
        loop {
            match Journal::of_operation(self.home(), id)? {
                // A wait in the kernel would hold a thread.
                path if path.exists() && Journal::claim(&path).is_none() => {
                    tokio::time::sleep(OWNER_POLL_INTERVAL).await;
                }
                _ => return self.recover().await,
            }
        }
    }

    /// Ends a forward. If that fails, recovery ends it.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn end_socket_forward(&self, forwarded: ForwardedSocket) -> Result<()> {
        let waiting = |text| self.notice(text);
        let _lock = EnvLock::acquire(
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
