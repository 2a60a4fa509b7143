//! Steps on one instance that operations and their recovery share.
//!
//! Each is idempotent: an instance that is already in the wanted state is a success.

use jiff::SignedDuration;

use super::Operations;
use super::journal::OperationRecord;
use crate::backend::{Backend, Instance, Marks, Settings};
use crate::error::{ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, InstanceName, OperationId, SnapshotName};
use crate::project::{Project, ensure_unmoved};
use crate::provision;

/// A guest that was started less than this ago may still be booting.
const BOOT_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

/// Returns the instance with exactly this name, or `None`.
pub(super) async fn find(backend: &dyn Backend, name: &InstanceName) -> Result<Option<Instance>> {
    match backend.instance(name).await {
        Ok(instance) => Ok(Some(instance)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The marks of an env's instance. `operation` marks an incomplete one.
pub(super) fn marks(project: &Project, env: &EnvName, operation: Option<&OperationId>) -> Marks {
    Marks {
        project: project.name(),
        env: Some(env.clone()),
        path: Some(project.directory().to_path_buf()),
        operation: operation.cloned(),
    }
}

/// Starts an instance that was stopped a moment ago. A running or missing instance is a success.
pub(super) async fn start_if_stopped(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    match backend.start(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        started => ignore_conflict(started),
    }
}

/// Treats an instance that has the wanted state already as a success.
pub(super) fn ignore_conflict(changed: Result<()>) -> Result<()> {
    match changed {
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        changed => changed,
    }
}

/// Starts an instance again if it ran before the operation, which may have been interrupted long ago.
///
/// # Errors
/// `Config` if a mount leads elsewhere now; those of the engine.
pub(super) async fn restart_if_it_ran(
    backend: &dyn Backend,
    record: &OperationRecord,
) -> Result<()> {
    if record.was_running {
        start_again(backend, &record.instance).await
    } else {
        Ok(())
    }
}

/// Starts an instance that may be stopped for long. A running or missing instance is a success.
///
/// # Errors
/// As above.
pub(super) async fn start_again(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    if let Some(instance) = find(backend, name).await?
        && !backend.id().is_remote()
    {
        ensure_unmoved(&instance.settings.mounts)?;
    }
    start_if_stopped(backend, name).await
}

/// Kills an instance. A stopped one is a success.
pub(super) async fn force_stop(backend: &dyn Backend, instance: &Instance) -> Result<()> {
    ignore_conflict(backend.stop(&instance.name, true).await)
}

/// Kills and deletes an instance. A missing one is a success.
pub(super) async fn force_delete(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    match backend.stop(name, true).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        // Already stopped, or too broken to stop: the deletion reports a real failure.
        _ => {}
    }
    match backend.delete(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Deletes a snapshot. A missing one is a success.
pub(super) async fn delete_snapshot_if_present(
    backend: &dyn Backend,
    name: &InstanceName,
    snapshot: &SnapshotName,
) -> Result<()> {
    match backend.delete_snapshot(name, snapshot).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        deleted => deleted,
    }
}

/// Sets whether an instance starts with its engine.
pub(super) async fn set_autostart(
    backend: &dyn Backend,
    instance: &Instance,
    autostart: bool,
) -> Result<()> {
    let settings = Settings {
        autostart,
        ..instance.settings.clone()
    };
    backend.configure(&instance.name, &settings).await
}

impl Operations {
    /// Asks an instance's init to shut down.
    pub(super) async fn shut_down(&self, backend: &dyn Backend, instance: &Instance) -> Result<()> {
        let age = instance
            .started_at
            .map(|at| self.clock.now().duration_since(at));
        let new = age.is_some_and(|age| age.abs() < BOOT_TIMEOUT);
        if new && instance.status == EnvStatus::Running {
            // An init that is still starting ignores the request.
            if let Err(error) = provision::wait_for_init(backend, &instance.name).await {
                tracing::debug!(?error, "cannot wait for init");
            }
        }
        if instance.status == EnvStatus::Frozen {
            // A frozen init cannot shut down.
            if let Err(error) = backend.start(&instance.name).await {
                tracing::debug!(?error, "cannot thaw the instance");
            }
        }
        backend.stop(&instance.name, false).await
    }

    /// Shuts an instance down, and kills it after a timeout.
    pub(super) async fn stop_or_kill(
        &self,
        backend: &dyn Backend,
        instance: &Instance,
    ) -> Result<()> {
        match self.shut_down(backend, instance).await {
            Err(error) if error.kind() == ErrorKind::Timeout => force_stop(backend, instance).await,
            Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
            _ => Ok(()),
        }
    }
}
