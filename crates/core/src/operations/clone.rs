//! Cloning an env.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Operations;
use super::create::add_initial_snapshot;
use super::instances::marks;
use super::journal::{Journal, JournalStep};
use super::name_check::ensure_new;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::CloneSpec;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EnvName, InstanceName, SnapshotName};
use crate::project::{Change, Project};
use crate::provision::identity;
use crate::view::OperationKind;

/// A clone to create.
#[derive(Debug, Clone)]
pub struct CloneRequest {
    pub source: EnvName,
    /// The snapshot to copy; `None` copies the current state.
    pub snapshot: Option<SnapshotName>,
    pub env: EnvName,
}

/// A created clone.
#[derive(Debug, Clone)]
pub struct Cloned {
    pub instance: InstanceName,
    pub engine: EngineKind,
    pub user: crate::model::UserName,
}

impl Operations {
    /// Clones an env, with a new identity and `initial-state`, and starts the clone. The source does not
    /// change; its snapshots are not copied.
    ///
    /// # Errors
    /// `AlreadyExists`; `NotFound` for a missing snapshot; `Conflict`; those of the engine; rolled back.
    pub async fn clone_env(
        self: &Arc<Self>,
        project: &mut Project,
        request: &CloneRequest,
        cancel: &CancellationToken,
    ) -> Result<Cloned> {
        let CloneRequest { source, env, .. } = request;
        let failed = |error: Error| error.context(format!("cannot clone `{source}` to `{env}`"));
        ensure_new(project, env).map_err(failed)?;
        let others = [source];
        let begin = self.begin_with(project, env, &others, OperationKind::Clone, None);
        let operation = tokio::select! {
            begun = begin => begun.map_err(failed)?,
            () = cancel.cancelled() => return Err(failed(Error::cancelled())),
        };
        let result = self.clone_steps(project, request, &operation, cancel).await;
        self.end(operation, result.map_err(failed))
    }

    /// Changes of the file, with or without the initial snapshot.
    fn clone_changes(&self, request: &CloneRequest, snapshot: bool) -> Vec<Change> {
        let snapshot = snapshot.then(|| add_initial_snapshot(&request.env, self.clock.now()));
        let env = Change::CloneEnv {
            source: request.source.clone(),
            env: request.env.clone(),
        };
        [env].into_iter().chain(snapshot).collect()
    }

    async fn clone_steps(
        self: &Arc<Self>,
        project: &mut Project,
        request: &CloneRequest,
        operation: &Operation,
        cancel: &CancellationToken,
    ) -> Result<Cloned> {
        *project = project.reopen()?;
        ensure_new(project, &request.env)?;
        let source = self.resolve(project, &request.source).await?;
        if let Some(snapshot) = &request.snapshot {
            source.ensure_snapshot(&request.source, snapshot)?;
        }
        let name = project.instance(&request.env)?;
        self.ensure_absent(project, &request.env, &name).await?;
        project.check(&self.clone_changes(request, true))?;
        ensure_copyable(&source, request).await?;
        let spec = CloneSpec {
            source: source.instance.name.clone(),
            snapshot: request.snapshot.clone(),
            name: name.clone(),
            marks: marks(project, &request.env, Some(&operation.id)),
        };
        let backend = source.backend.as_ref();
        let mut journal = self.journal(operation, backend, &name, false)?;
        let copied = async {
            self.step(operation, "copying instance");
            backend
                .clone_instance(&spec, &self.progress(operation), cancel)
                .await?;
            let rest = self.finish_copy(project, request, &spec, operation, &source, &mut journal);
            tokio::select! {
                done = rest => done,
                () = cancel.cancelled() => Err(Error::cancelled()),
            }
        };
        match copied.await {
            Ok(cloned) => {
                journal.close();
                Ok(cloned)
            }
            Err(error) => {
                self.step(operation, "rolling back");
                self.roll_back_create(backend, &name, journal).await;
                Err(error)
            }
        }
    }

    /// Makes an env of a copied instance.
    async fn finish_copy(
        &self,
        project: &mut Project,
        request: &CloneRequest,
        spec: &CloneSpec,
        operation: &Operation,
        source: &ResolvedEnv,
        journal: &mut Journal,
    ) -> Result<Cloned> {
        let backend = source.backend.as_ref();
        let name = &spec.name;
        self.step(operation, "assigning identity");
        // From here on the journal identifies the instance, which loses its mark.
        journal.enter(JournalStep::Committing)?;
        let complete = marks(project, &request.env, None);
        tokio::try_join!(
            identity::renew(backend, name, &spec.source),
            backend.set_marks(name, &complete),
        )?;
        let initial = self.take_initial_snapshot(operation, backend, name).await?;
        self.step(operation, "starting instance");
        let instance = backend.brief(name).await?;
        self.start_with_mounts(project, &request.source, backend, &instance)
            .await?;
        self.delete_snapshot_entries(&operation.env)?;
        // Last: an env in the file is complete.
        project.change(&self.clone_changes(request, initial))?;
        Ok(Cloned {
            instance: name.clone(),
            engine: backend.kind(),
            user: project.file().user(&request.env)?.name,
        })
    }
}

/// Fails for a running source if the engine only copies stopped instances and snapshots.
async fn ensure_copyable(source: &ResolvedEnv, request: &CloneRequest) -> Result<()> {
    let runs = source.instance.status.is_up() && request.snapshot.is_none();
    if runs && !source.backend.capabilities().await?.copies_running {
        let env = &request.source;
        let message = format!("`{env}` is running");
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint(format!("stop it first: `lxc-dev-manager down {env}`")));
    }
    Ok(())
}
