//! Renaming an env.

mod recovery;

use super::Operations;
use super::instances::start_if_stopped;
use super::journal::{Detail, Journal, JournalStep};
use super::name_check::ensure_new;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::Instance;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, InstanceName};
use crate::project::{Change, Project};
use crate::view::OperationKind;

/// A renamed env.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    pub instance: InstanceName,
    /// Whether it was running and runs again.
    pub running: bool,
}

impl Operations {
    /// Renames an env in the engine, the file, the guest, the undo ledger and the forwards. Restarts a running
    /// env.
    ///
    /// # Errors
    /// `AlreadyExists`; `Conflict` for files that are still to be copied; those of the engine.
    pub async fn rename(
        &self,
        project: &mut Project,
        env: &EnvName,
        new: &EnvName,
    ) -> Result<Renamed> {
        let failed = |error: Error| error.context(format!("cannot rename `{env}` to `{new}`"));
        ensure_free_name(project, env, new).map_err(failed)?;
        let others = [new];
        let begun = self.begin_with(project, env, &others, OperationKind::Rename, None);
        let mut operation = begun.await.map_err(failed)?;
        let result = self.rename_steps(project, env, new, &mut operation).await;
        self.end(operation, result.map_err(failed))
    }

    async fn rename_steps(
        &self,
        project: &mut Project,
        env: &EnvName,
        new: &EnvName,
        operation: &mut Operation,
    ) -> Result<Renamed> {
        *project = project.reopen()?;
        ensure_free_name(project, env, new)?;
        let resolved = self.resolve_own(project, env).await?;
        let target = project.instance(new)?;
        if target.as_str() != resolved.instance.name.as_str() {
            self.ensure_absent(project, new, &target).await?;
        }
        self.ensure_nothing_staged(env, &resolved.instance)?;
        let change = Change::RenameEnv {
            env: env.clone(),
            new: new.clone(),
        };
        project.check(&[change])?;
        let ResolvedEnv { backend, instance } = &resolved;
        let running = instance.status.is_up();
        operation.detail = Some(Detail::Renamed {
            env: new.clone(),
            instance: target.clone(),
        });
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, running)?;
        let renamed = self
            .rename_instance(project, operation, &resolved, &mut journal)
            .await;
        match renamed {
            // The state is unknown: recovery completes it.
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                match self.roll_back_rename(backend, &journal.record).await {
                    Ok(()) => journal.close(),
                    Err(error) => tracing::warn!(?error, "cannot roll back a rename"),
                }
                Err(error)
            }
            Ok(()) => {
                let started = if running {
                    journal.enter(JournalStep::Restarting)?;
                    self.step(operation, "starting instance");
                    start_if_stopped(backend.as_ref(), &target).await
                } else {
                    Ok(())
                };
                journal.close();
                started.map_err(|error| {
                    error.context(format!(
                        "`{env}` was renamed to `{new}`, but cannot be started"
                    ))
                })?;
                Ok(Renamed {
                    instance: target,
                    running,
                })
            }
        }
    }

    /// Fails if an interrupted copy into the env waits for its next start.
    fn ensure_nothing_staged(&self, env: &EnvName, instance: &Instance) -> Result<()> {
        let journals = Journal::for_instance(&self.home, &instance.name)?;
        let staged =
            |journal: &Journal| matches!(journal.record.detail, Some(Detail::ToGuest { .. }));
        if !journals.iter().any(staged) {
            return Ok(());
        }
        let message = format!("an interrupted copy into `{env}` is not recovered yet");
        Err(Error::new(ErrorKind::Conflict, message)
            .with_hint(format!("start it first: `lxc-dev-manager up {env}`")))
    }

    async fn rename_instance(
        &self,
        project: &mut Project,
        operation: &Operation,
        resolved: &ResolvedEnv,
        journal: &mut Journal,
    ) -> Result<()> {
        let ResolvedEnv { backend, instance } = resolved;
        if journal.record.was_running {
            self.step(operation, "stopping instance");
            self.stop_or_kill(backend.as_ref(), instance).await?;
        }
        // Their owners would look for them under the old name.
        backend.end_socket_forwards(&instance.name).await?;
        journal.enter(JournalStep::Committing)?;
        self.step(operation, "renaming instance");
        self.apply_rename(project, backend, &journal.record).await
    }
}

/// Fails for a name in use. A change of case only is allowed.
fn ensure_free_name(project: &Project, env: &EnvName, new: &EnvName) -> Result<()> {
    if new != env && new.as_str().eq_ignore_ascii_case(env.as_str()) {
        return Ok(());
    }
    ensure_new(project, new)
}
