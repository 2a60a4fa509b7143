//! Lending a socket of this host, the SSH agent's, to an env while a command runs there.
//!
//! The env's lock is held only while the loan begins and ends: the command may run for days. The journal
//! is owned for all of that time; where its owner is killed, the next change takes the loan back.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::journal::{Detail, Journal};
use super::lock::EnvLock;
use super::place::Placed;
use super::task::Task;
use crate::backend::{Backend, Loan};
use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::model::{EnvName, InstanceName, UserName};
use crate::project::Project;
use crate::provision;
use crate::view::Verb;

/// A socket that is lent, until [`Engine::end_loan`].
pub struct Lent {
    backend: Arc<dyn Backend>,
    instance: InstanceName,
    loan: Loan,
    journal: Journal,
}

impl Lent {
    /// Where the env's user finds it.
    #[must_use]
    pub fn guest_path(&self) -> &str {
        &self.loan.guest
    }
}

impl Engine {
    /// Lets the user of a running env use a Unix socket of this host.
    ///
    /// # Errors
    /// `Unsupported` for an engine on another machine; `Conflict` where the env doesn't run.
    pub async fn lend(
        &self,
        project: &Project,
        env: &EnvName,
        user: &UserName,
        socket: &Path,
    ) -> Result<Lent> {
        let failed = |error: Error| error.context(format!("cannot lend a socket to `{env}`"));
        let begun = self.begin(project, env, Verb::Lend, None).await;
        let mut task = begun.map_err(failed)?;
        let result = self.lend_steps(project, env, user, socket, &mut task).await;
        self.end(task, result.map_err(failed))
    }

    async fn lend_steps(
        &self,
        project: &Project,
        env: &EnvName,
        user: &UserName,
        socket: &Path,
        task: &mut Task,
    ) -> Result<Lent> {
        let (placed, _) = self.place_running(&project.fresh()?, env).await?;
        let Placed { backend, instance } = placed;
        let instance = instance.name;
        let (uid, gid) = provision::user_ids(backend.as_ref(), &instance, user).await?;
        let name = format!("{}{}", Loan::PREFIX, task.id.short());
        let loan = Loan {
            guest: format!("/tmp/{name}.sock"),
            host: socket.to_path_buf(),
            uid,
            gid,
            name,
        };
        task.detail = Some(Detail::Lent {
            name: loan.name.clone(),
        });
        let journal = self.journal(task, backend.as_ref(), &instance, false)?;
        let lent = Lent {
            backend,
            instance,
            loan,
            journal,
        };
        match lent.backend.lend(&lent.instance, &lent.loan).await {
            Ok(()) => Ok(lent),
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                if lent.end().await.is_err() {
                    tracing::warn!("a loan could not be taken back");
                }
                Err(error)
            }
        }
    }

    /// Ends a loan. What can't be taken back now is by the next change.
    ///
    /// # Errors
    /// The engine's.
    pub async fn end_loan(&self, lent: Lent) -> Result<()> {
        let waiting = |text| self.bus().publish(EventKind::Notice(text));
        let _lock = EnvLock::take(self.home(), &lent.instance, Verb::Lend, waiting).await?;
        lent.end().await
    }
}

impl Lent {
    async fn end(self) -> Result<()> {
        let name = &self.loan.name;
        self.backend.end_loan(&self.instance, name).await?;
        self.journal.close();
        Ok(())
    }
}
