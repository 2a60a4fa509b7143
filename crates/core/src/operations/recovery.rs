//! Recovery of operations whose process was killed: rolled back or completed, step by step as their
//! journal says.
//!
//! Each kind of operation has its own `recovery` module.

use std::sync::Arc;
use std::time::Duration;

use super::Operations;
use super::instances::{find, start_again};
use super::journal::{Detail, Journal, OperationRecord};
use super::lock::EnvLock;
use super::recovered::Recovered;
use super::{
    create::recovery as create, image::recovery as image, snapshot::recovery as snapshot,
    transfer::recovery as transfer,
};
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::view::OperationKind;

/// Limit of the wait for an engine's own work on an env that is not the caller's.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

impl Operations {
    /// Recovers interrupted operations, with a notice for each, and deletes expired undo copies. Skips envs
    /// that are locked or on which the engine still works.
    ///
    /// # Errors
    /// `Io` if the journals cannot be read. A failed recovery is only a notice.
    pub async fn recover(&self) -> Result<()> {
        for path in Journal::all(&self.home)? {
            let Some(journal) = Journal::claim(&path) else {
                continue;
            };
            let record = &journal.record;
            let lock = |instance| EnvLock::try_acquire(&self.home, instance, record.kind);
            let locks: Result<Vec<_>> = record.instances().into_iter().map(lock).collect();
            match locks {
                // A failure is reported on the bus.
                Ok(locks) if locks.iter().all(Option::is_some) => {
                    let _ = self.recover_journal(journal, false).await;
                }
                Ok(_) => {}
                // The next change of this env reports it.
                Err(error) => tracing::warn!(?error, "cannot lock an env for recovery"),
            }
        }
        if let Err(error) = self.expire().await {
            tracing::warn!(?error, "cannot delete expired undo copies");
        }
        Ok(())
    }

    /// Recovers the interrupted operations of an instance whose lock the caller holds.
    pub(super) async fn recover_own(&self, instance: &crate::model::InstanceName) -> Result<()> {
        for journal in Journal::for_instance(&self.home, instance)? {
            self.recover_journal(journal, true).await?;
        }
        Ok(())
    }

    /// Describes the interrupted operations without recovering them.
    ///
    /// # Errors
    /// `Io` if the journals cannot be read.
    pub fn interrupted(&self) -> Result<Vec<String>> {
        let paths = Journal::all(&self.home)?;
        let orphans = paths.iter().filter_map(|path| Journal::claim(path));
        Ok(orphans
            .map(|journal| {
                let (noun, env) = (journal.record.kind.labels().noun, &journal.record.env.env);
                format!("an interrupted {noun} of `{env}` will be recovered by the next change")
            })
            .collect())
    }

    /// Recovers one journal and reports the result; `wait` as for [`Self::settle`]. Fails if the journal stays.
    async fn recover_journal(&self, mut journal: Journal, wait: bool) -> Result<()> {
        let record = &journal.record;
        let what = format!(
            "an interrupted {} of `{}`",
            record.kind.labels().noun,
            record.env.env
        );
        let recovered = async {
            let backend = &self.backend_at(&record.engine)?;
            self.settle(backend.as_ref(), record, wait).await?;
            if must_wait(backend.as_ref(), record).await? {
                return Ok(None);
            }
            self.recover_operation(backend, &journal).await.map(Some)
        };
        match recovered.await {
            Ok(None) => Ok(()),
            Ok(Some(outcome)) => {
                self.notice(format!("{what} was {outcome}"));
                journal.close();
                Ok(())
            }
            Err(error) if !error.is_uncertain() && journal.record_failure() => {
                let why = error.report().message;
                self.notice(format!("{what} cannot be recovered, dropping it: {why}"));
                journal.close();
                Ok(())
            }
            Err(error) => {
                let why = error.report().message;
                self.notice(format!("{what} cannot be recovered yet: {why}"));
                Err(error)
            }
        }
    }

    /// Waits for requests of the killed process that the engine still executes; without `wait` only for
    /// [`SETTLE_TIMEOUT`].
    async fn settle(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
        wait: bool,
    ) -> Result<()> {
        let settled = backend.settle(&record.instance);
        tokio::pin!(settled);
        match tokio::time::timeout(SETTLE_TIMEOUT, &mut settled).await {
            Ok(done) => done,
            Err(_) if !wait => {
                let message = format!("{} is still changing `{}`", backend.kind(), record.instance);
                Err(Error::new(ErrorKind::Timeout, message))
            }
            Err(_) => {
                let (kind, noun) = (backend.kind(), record.kind.labels().noun);
                self.notice(format!(
                    "waiting for {kind} to end an interrupted {noun} of `{}`",
                    record.instance
                ));
                settled.await
            }
        }
    }

    async fn recover_operation(
        &self,
        backend: &Arc<dyn Backend>,
        journal: &Journal,
    ) -> Result<Recovered> {
        let (record, step) = (&journal.record, journal.step);
        match record.kind {
            OperationKind::Create | OperationKind::Clone => {
                create::recover(backend.as_ref(), journal).await
            }
            OperationKind::Restart => {
                start_again(backend.as_ref(), &record.instance).await?;
                Ok(Recovered::Completed)
            }
            OperationKind::Snapshot => snapshot::recover(backend.as_ref(), record).await,
            OperationKind::Restore => self.recover_restore(backend, record, step).await,
            OperationKind::Remove => self.recover_removal(backend, record, step).await,
            OperationKind::Undo => self.recover_undo(backend, record, step).await,
            OperationKind::Rename => self.recover_rename(backend, record, step).await,
            OperationKind::Publish => image::recover(backend.as_ref(), record, step).await,
            OperationKind::Transfer => transfer::recover(backend.as_ref(), record, step).await,
            OperationKind::ForwardSocket => {
                if let Some(Detail::ForwardedSocket { name }) = &record.detail {
                    backend.end_socket_forward(&record.instance, name).await?;
                }
                Ok(Recovered::RolledBack)
            }
            // One request each, so they have no journal.
            OperationKind::Start
            | OperationKind::Stop
            | OperationKind::DeleteSnapshot
            | OperationKind::Configure => Ok(Recovered::NOTHING_CHANGED),
        }
    }
}

/// Whether recovery has to wait: files staged in a guest are only accessible while it runs.
async fn must_wait(backend: &dyn Backend, record: &OperationRecord) -> Result<bool> {
    if !matches!(record.detail, Some(Detail::ToGuest { .. })) {
        return Ok(false);
    }
    let instance = find(backend, &record.instance).await?;
    Ok(instance.is_some_and(|found| !found.status.is_up()))
}
