//! Giving an env another name.

use std::sync::Arc;

use super::Operations;
use super::journal::{Detail, Journal, JournalStep, OperationRecord};
use super::operation::Operation;
use super::recovery::{find, open_if_there, start_if_stopped};
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, Instance, Marks};
use crate::error::{Error, ErrorKind, Result};
use crate::forward;
use crate::model::{EnvName, InstanceName};
use crate::project::{Change, Project};
use crate::provision::identity;
use crate::view::{EnvRef, OperationKind};

/// An env that has another name now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// Its instance.
    pub instance: InstanceName,
    /// It ran before, and runs again.
    pub running: bool,
}

impl Operations {
    /// Gives an env another name: in the engine, in the file, in what undo keeps of it, and as its host
    /// name. A running one is stopped for it and runs again after.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; those of finding it, and the engine's.
    pub async fn rename(
        &self,
        project: &mut Project,
        env: &EnvName,
        new: &EnvName,
    ) -> Result<Renamed> {
        let failed = |error: Error| error.context(format!("cannot rename `{env}` to `{new}`"));
        self.expect_free_name(project, env, new).map_err(failed)?;
        let others = [new];
        let begun = self.begin_with(project, env, &others, OperationKind::Rename, None);
        let mut operation = begun.await.map_err(failed)?;
        let result = self.rename_steps(project, env, new, &mut operation).await;
        self.end(operation, result.map_err(failed))
    }

    /// Only the case of a name may change to one that differs by nothing else.
    fn expect_free_name(&self, project: &Project, env: &EnvName, new: &EnvName) -> Result<()> {
        let same = new != env && new.as_str().eq_ignore_ascii_case(env.as_str());
        match same {
            true => Ok(()),
            false => self.expect_new(project, new),
        }
    }

    async fn rename_steps(
        &self,
        project: &mut Project,
        env: &EnvName,
        new: &EnvName,
        operation: &mut Operation,
    ) -> Result<Renamed> {
        *project = project.fresh()?;
        self.expect_free_name(project, env, new)?;
        let resolved = self.resolve(project, env).await?;
        resolved.expect_own_checkout(project)?;
        let target = project.instance(new)?;
        if target.as_str() != resolved.instance.name.as_str() {
            self.expect_absent(project, new, &target).await?;
        }
        self.expect_nothing_staged(env, &resolved.instance)?;
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
            .rename_with(project, operation, &resolved, &mut journal)
            .await;
        match renamed {
            // How far it came is unknown: recovery finishes it.
            Err(error) if error.is_uncertain() => Err(error),
            Err(error) => {
                match self.rename_back(backend, &journal.record).await {
                    Ok(()) => journal.close(),
                    Err(error) => tracing::warn!(?error, "a rename could not be taken back"),
                }
                Err(error)
            }
            Ok(()) => {
                let started = match running {
                    true => {
                        journal.enter(JournalStep::Restarting)?;
                        self.step(operation, "starting it");
                        start_if_stopped(backend.as_ref(), &target).await
                    }
                    false => Ok(()),
                };
                journal.close();
                started.map_err(|error| {
                    error.context(format!("it is called `{new}` now, but can't be started"))
                })?;
                Ok(Renamed {
                    instance: target,
                    running,
                })
            }
        }
    }

    /// Refuses an env into which files were on their way when that was killed, and which has to run once
    /// until they are where they belong.
    fn expect_nothing_staged(&self, env: &EnvName, instance: &Instance) -> Result<()> {
        let left = Journal::of(&self.home, &instance.name)?;
        let staged =
            |journal: &Journal| matches!(journal.record.detail, Some(Detail::IntoGuest { .. }));
        if !left.iter().any(staged) {
            return Ok(());
        }
        let message = format!("files that were copied into `{env}` are not in their place yet");
        Err(Error::new(ErrorKind::Conflict, message)
            .with_hint(format!("start it first: `lxc-dev-manager up {env}`")))
    }

    async fn rename_with(
        &self,
        project: &mut Project,
        operation: &Operation,
        resolved: &ResolvedEnv,
        journal: &mut Journal,
    ) -> Result<()> {
        let ResolvedEnv { backend, instance } = resolved;
        if journal.record.was_running {
            self.step(operation, "stopping it");
            self.stop_or_kill(backend.as_ref(), instance).await?;
        }
        // Whoever lends it something looks for it under its old name.
        backend.end_socket_forwards(&instance.name).await?;
        journal.enter(JournalStep::Committing)?;
        self.step(operation, "renaming it");
        self.finish_rename(project, backend, &journal.record).await
    }

    /// The steps of a rename, each of which may have been done already.
    pub(super) async fn finish_rename(
        &self,
        project: &mut Project,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<()> {
        let Some(Detail::Renamed { env: new, instance }) = &record.detail else {
            return Err(Error::new(
                ErrorKind::Internal,
                "a rename without a new name",
            ));
        };
        if find(backend.as_ref(), &record.instance).await?.is_some() {
            backend.rename(&record.instance, instance).await?;
        }
        self.move_sleep_mark(&record.instance, instance)?;
        let marks = Marks {
            project: project.name(),
            env: Some(new.clone()),
            path: Some(project.directory().to_path_buf()),
            operation: None,
        };
        backend.set_marks(instance, &marks).await?;
        identity::set_host_name(backend.as_ref(), instance, &record.instance).await?;
        // Last of all, for nothing after it can fail: the new name counts from here on.
        let (old, now) = (&record.env, &project.env_ref(new));
        self.rename_in_ledger(old, now, instance)?;
        self.rename_in_forwards(old, now);
        if project.file().entry(new).is_none() {
            project.change(&[Change::RenameEnv {
                env: record.env.env.clone(),
                new: new.clone(),
            }])?;
        }
        Ok(())
    }

    /// Who forwards finds focus and port of its own under the new name. An env without them is renamed all
    /// the same.
    fn rename_in_forwards(&self, old: &EnvRef, new: &EnvRef) {
        if let Err(error) = forward::carry_over(&self.home, old, new) {
            let why = error.report().message;
            self.notice(format!(
                "`{}` may lose the focus and the ports that `{}` had: {why}",
                new.env, old.env
            ));
        }
    }

    /// Finishes a rename that was killed.
    pub(super) async fn recover_rename(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<&'static str> {
        let old = find(backend.as_ref(), &record.instance).await?;
        if old.is_none() && find(backend.as_ref(), record.name_after()).await?.is_none() {
            return Ok("dropped: the env is gone");
        }
        let Some(mut project) = open_if_there(record)? else {
            return Ok("dropped: its project is gone");
        };
        self.finish_rename(&mut project, backend, record).await?;
        if record.was_running {
            start_if_stopped(backend.as_ref(), record.name_after()).await?;
        }
        Ok("finished")
    }

    /// Gives a half renamed env its old name again; it runs if it ran before.
    async fn rename_back(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<()> {
        let Some(Detail::Renamed { env, instance }) = &record.detail else {
            return Ok(());
        };
        let new = EnvRef {
            env: env.clone(),
            ..record.env.clone()
        };
        self.rename_in_ledger(&new, &record.env, &record.instance)?;
        if let Err(error) = forward::carry_back(&self.home, &record.env, &new) {
            tracing::warn!(
                ?error,
                "focus and ports of its own may stay with the new name"
            );
        }
        self.move_sleep_mark(instance, &record.instance)?;
        let there = find(backend.as_ref(), &record.instance).await?;
        if there.is_none() && find(backend.as_ref(), instance).await?.is_some() {
            backend.rename(instance, &record.instance).await?;
            let marks = Marks {
                env: Some(record.env.env.clone()),
                ..find(backend.as_ref(), &record.instance)
                    .await?
                    .map(|found| found.marks)
                    .unwrap_or_default()
            };
            backend.set_marks(&record.instance, &marks).await?;
            identity::set_host_name(backend.as_ref(), &record.instance, instance).await?;
        }
        match record.was_running {
            true => start_if_stopped(backend.as_ref(), &record.instance).await,
            false => Ok(()),
        }
    }
}
