//! Making an env as a copy of another.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Operations;
use super::create::{INITIAL_DESCRIPTION, stopped};
use super::journal::{Journal, JournalStep};
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{CopySpec, Marks};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EnvName, InstanceName, SnapshotName};
use crate::project::{Change, Project, whole_seconds};
use crate::provision::identity;
use crate::view::OperationKind;

/// A copy to be made.
#[derive(Debug, Clone)]
pub struct CloneRequest {
    /// What is copied.
    pub source: EnvName,
    /// The snapshot of it that is copied; `None` is its state of now.
    pub snapshot: Option<SnapshotName>,
    /// Name of the copy.
    pub env: EnvName,
}

/// An env that was made as a copy.
#[derive(Debug, Clone)]
pub struct Cloned {
    /// Its instance.
    pub instance: InstanceName,
    /// The engine that has it.
    pub engine: EngineKind,
    /// Its user.
    pub user: crate::model::UserName,
}

impl Operations {
    /// Makes an env as a copy of another, with an identity and an `initial-state` of its own, and starts
    /// it. The source is left as it is, running or not; its snapshots aren't copied.
    ///
    /// # Errors
    /// What was wrong, with nothing left behind.
    pub async fn clone_env(
        self: &Arc<Self>,
        project: &mut Project,
        request: &CloneRequest,
        cancel: &CancellationToken,
    ) -> Result<Cloned> {
        let CloneRequest { source, env, .. } = request;
        let failed = |error: Error| error.context(format!("cannot clone `{source}` to `{env}`"));
        self.expect_new(project, env).map_err(failed)?;
        let others = [source];
        let begin = self.begin_with(project, env, &others, OperationKind::Clone, None);
        let operation = tokio::select! {
            begun = begin => begun.map_err(failed)?,
            () = cancel.cancelled() => return Err(failed(stopped())),
        };
        let result = self.clone_steps(project, request, &operation, cancel).await;
        self.end(operation, result.map_err(failed))
    }

    /// What the file will say; the snapshot only where one was taken.
    fn clone_changes(&self, request: &CloneRequest, snapshot: bool) -> Vec<Change> {
        let snapshot = snapshot.then(|| Change::AddSnapshot {
            env: request.env.clone(),
            snapshot: SnapshotName::initial_state(),
            description: Some(INITIAL_DESCRIPTION.to_owned()),
            created_at: whole_seconds(self.clock.now()),
        });
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
        *project = project.fresh()?;
        self.expect_new(project, &request.env)?;
        let source = self.resolve(project, &request.source).await?;
        if let Some(snapshot) = &request.snapshot {
            source.expect_snapshot(&request.source, snapshot)?;
        }
        let name = project.instance(&request.env)?;
        self.expect_absent(project, &request.env, &name).await?;
        project.check(&self.clone_changes(request, true))?;
        expect_copyable(&source, request).await?;
        let spec = CopySpec {
            source: source.instance.name.clone(),
            snapshot: request.snapshot.clone(),
            name: name.clone(),
            marks: Marks {
                project: project.name(),
                env: Some(request.env.clone()),
                path: Some(project.directory().to_path_buf()),
                operation: Some(operation.id.clone()),
            },
        };
        let backend = source.backend.as_ref();
        let mut journal = self.journal(operation, backend, &name, false)?;
        let made = async {
            self.step(operation, "copying the instance");
            backend
                .copy(&spec, &self.progress(operation), cancel)
                .await?;
            let rest = self.finish_copy(project, request, &spec, operation, &source, &mut journal);
            tokio::select! {
                done = rest => done,
                () = cancel.cancelled() => Err(stopped()),
            }
        };
        match made.await {
            Ok(cloned) => {
                journal.close();
                Ok(cloned)
            }
            Err(error) => {
                self.step(operation, "taking back what was made");
                self.roll_back(backend, &name, journal).await;
                Err(error)
            }
        }
    }

    /// From a copy that exists to an env of its own.
    async fn finish_copy(
        &self,
        project: &mut Project,
        request: &CloneRequest,
        spec: &CopySpec,
        operation: &Operation,
        source: &ResolvedEnv,
        journal: &mut Journal,
    ) -> Result<Cloned> {
        let backend = source.backend.as_ref();
        let name = &spec.name;
        self.step(operation, "giving it an identity of its own");
        // What has lost its mark is known by the journal from here on.
        journal.enter(JournalStep::Committing)?;
        let finished = Marks {
            operation: None,
            ..spec.marks.clone()
        };
        tokio::try_join!(
            identity::renew(backend, name, &spec.source),
            backend.set_marks(name, &finished),
        )?;
        let initial = self.take_initial(operation, backend, name).await?;
        self.step(operation, "starting it");
        backend.start(name).await?;
        self.delete_snapshot_entries(&operation.env)?;
        // Last, for nothing after it can fail: the env counts from here on.
        project.change(&self.clone_changes(request, initial))?;
        Ok(Cloned {
            instance: name.clone(),
            engine: backend.kind(),
            user: project.file().user(&request.env)?.name,
        })
    }
}

/// Some engines copy only what is stopped, or snapshots.
async fn expect_copyable(source: &ResolvedEnv, request: &CloneRequest) -> Result<()> {
    let runs = source.instance.status.is_up() && request.snapshot.is_none();
    if runs && !source.backend.capabilities().await?.copies_running {
        let env = &request.source;
        let message = format!("`{env}` is running");
        return Err(Error::new(ErrorKind::Conflict, message)
            .with_hint(format!("stop it first: `lxc-dev-manager down {env}`")));
    }
    Ok(())
}
