//! Finishing or taking back what a killed process left half done.

use std::sync::Arc;
use std::time::Duration;

use super::Operations;
use super::create::force_delete;
use super::image::recover_publish;
use super::journal::{Detail, Journal, JournalStep, OperationRecord};
use super::lock::EnvLock;
use super::transfer::recover_transfer;
use crate::backend::{Backend, Instance, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{InstanceName, SnapshotName};
use crate::project::{Change, Project};
use crate::view::OperationKind;

/// How long recovery of another env waits for the engine to end what it still does there.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(2);

impl Operations {
    /// Mends what killed processes left half done, and says so on the bus; deletes what can no longer
    /// be undone. An env on which somebody works, or the engine itself still does, waits for the next
    /// time.
    ///
    /// # Errors
    /// `Io` where the journal's directory can't be read. What can't be recovered now (its engine is
    /// away) stays for the next time, with a notice.
    pub async fn recover(&self) -> Result<()> {
        for path in Journal::all(&self.home)? {
            let Some(journal) = Journal::claim(&path) else {
                continue;
            };
            let record = &journal.record;
            let free = |instance| EnvLock::try_take(&self.home, instance, record.kind);
            let locks: Vec<_> = record
                .instances()
                .into_iter()
                .map(free)
                .collect::<Result<_>>()?;
            if locks.iter().all(Option::is_some) {
                // What stays says so by a notice.
                let _ = self.recover_journal(journal, Some(RECOVERY_TIMEOUT)).await;
            }
        }
        self.expire().await
    }

    /// Mends what killed processes left of this instance. The caller holds its lock.
    ///
    /// # Errors
    /// Why that can't be done now.
    pub(super) async fn recover_own(&self, instance: &InstanceName) -> Result<()> {
        for journal in Journal::of(&self.home, instance)? {
            self.recover_journal(journal, None).await?;
        }
        Ok(())
    }

    /// What killed processes left half done, in words; nothing is recovered.
    ///
    /// # Errors
    /// `Io` where the journal's directory can't be read.
    pub fn interrupted(&self) -> Result<Vec<String>> {
        let paths = Journal::all(&self.home)?;
        let orphans = paths.iter().filter_map(|path| Journal::claim(path));
        Ok(orphans
            .map(|journal| {
                let (kind, env) = (journal.record.kind.noun(), &journal.record.env.env);
                format!("an interrupted {kind} of `{env}` will be recovered by the next change")
            })
            .collect())
    }

    pub(super) fn notice(&self, text: String) {
        self.bus.publish(EventKind::Notice(text));
    }

    /// Mends one journal, whose instance the caller has locked, and says how. Fails where it stays.
    async fn recover_journal(&self, mut journal: Journal, timeout: Option<Duration>) -> Result<()> {
        let record = &journal.record;
        let what = format!(
            "an interrupted {} of `{}`",
            record.kind.noun(),
            record.env.env
        );
        let recovered = async {
            let backend = &self.backend_at(&record.engine)?;
            self.settle(backend.as_ref(), record, timeout).await?;
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
            Err(error) if !error.is_uncertain() && journal.failed() => {
                let why = error.report().message;
                self.notice(format!(
                    "{what} could not be recovered, and is given up: {why}"
                ));
                journal.close();
                Ok(())
            }
            Err(error) => {
                let why = error.report().message;
                self.notice(format!("{what} can't be recovered yet: {why}"));
                Err(error)
            }
        }
    }

    /// Waits for what the engine still does on an instance: what the killed process has asked for.
    async fn settle(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let settled = backend.settle(&record.instance);
        tokio::pin!(settled);
        match tokio::time::timeout(RECOVERY_TIMEOUT, &mut settled).await {
            Ok(done) => done,
            Err(_) if timeout.is_some() => {
                let message = format!("{} still works on `{}`", backend.kind(), record.instance);
                Err(Error::new(ErrorKind::Timeout, message))
            }
            Err(_) => {
                let text = format!(
                    "waiting for {}, which still works on `{}` for an interrupted {}",
                    backend.kind(),
                    record.instance,
                    record.kind.noun()
                );
                self.notice(text);
                settled.await
            }
        }
    }

    async fn recover_operation(
        &self,
        backend: &Arc<dyn Backend>,
        journal: &Journal,
    ) -> Result<&'static str> {
        let record = &journal.record;
        match (record.kind, journal.step) {
            (OperationKind::Create | OperationKind::Clone, _) => {
                recover_create(backend.as_ref(), journal).await
            }
            (OperationKind::Rename, JournalStep::Committing) => {
                self.recover_rename(backend, record).await
            }
            (OperationKind::Restart | OperationKind::Rename, JournalStep::Restarting) => {
                start_if_stopped(backend.as_ref(), record.name_after()).await?;
                Ok("finished")
            }
            (OperationKind::Publish, step) => recover_publish(backend.as_ref(), record, step).await,
            (OperationKind::ForwardSocket, _) => {
                if let Some(Detail::ForwardedSocket { name }) = &record.detail {
                    backend.end_socket_forward(&record.instance, name).await?;
                }
                Ok("taken back")
            }
            (OperationKind::Transfer, step) => {
                recover_transfer(backend.as_ref(), record, step).await
            }
            (OperationKind::Snapshot, _) => self.recover_snapshot(backend.as_ref(), record).await,
            (OperationKind::Remove | OperationKind::Rename, JournalStep::Preparing) => {
                restart(backend.as_ref(), record).await?;
                Ok("taken back")
            }
            (OperationKind::Remove, _) => self.finish_remove(backend, record).await,
            (OperationKind::Restore | OperationKind::Undo, JournalStep::Preparing) => {
                self.discard_copy(backend.as_ref(), record).await?;
                restart(backend.as_ref(), record).await?;
                Ok("dropped: nothing was changed yet")
            }
            (OperationKind::Undo, JournalStep::Committing) if record.snapshot.is_none() => {
                self.finish_undo_of_removal(backend, record).await
            }
            (OperationKind::Restore | OperationKind::Undo, JournalStep::Committing) => {
                self.finish_restore(backend, record).await
            }
            (OperationKind::Restore | OperationKind::Undo, JournalStep::Restarting) => {
                self.delete_used_copy(backend.as_ref(), record).await;
                restart(backend.as_ref(), record).await?;
                Ok("finished")
            }
            _ => Ok("dropped: nothing was changed yet"),
        }
    }

    /// A snapshot that the engine has and the file doesn't know is written into the file.
    async fn recover_snapshot(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) -> Result<&'static str> {
        let Some(snapshot) = &record.snapshot else {
            return Ok("dropped");
        };
        let instance = match backend.instance(&record.instance).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok("dropped"),
            found => found?,
        };
        // Some engines stop one that runs for it.
        restart(backend, record).await?;
        let Some(taken) = instance
            .snapshots
            .iter()
            .find(|known| known.name == *snapshot)
        else {
            return Ok("dropped: nothing was taken yet");
        };
        let Some(mut project) = open_if_there(record)? else {
            return Ok("dropped: its project is gone");
        };
        let entry = project.file().entry(&record.env.env);
        if entry.is_some_and(|entry| !entry.snapshots.contains_key(snapshot.as_str())) {
            project.change(&[Change::AddSnapshot {
                env: record.env.env.clone(),
                snapshot: snapshot.clone(),
                description: None,
                created_at: crate::project::whole_seconds(taken.created_at),
            }])?;
        }
        Ok("finished")
    }

    /// A restore that was begun is finished while the env is as the killed process has left it:
    /// setting back twice gives the same state. One that is up was never stopped, or somebody has
    /// started it since and may have worked in it.
    async fn finish_restore(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<&'static str> {
        let Some(instance) = find(backend.as_ref(), &record.instance).await? else {
            return Ok("dropped: the env is gone");
        };
        if instance.started_at.is_some_and(|at| at > record.started_at) {
            return Ok("dropped: it was started since");
        }
        if instance.status.is_up() {
            self.discard_copy(backend.as_ref(), record).await?;
            return Ok("dropped: nothing was changed yet");
        }
        let wanted = record.snapshot.as_ref();
        let Some(snapshot) = wanted.filter(|wanted| {
            let mut known = instance.snapshots.iter();
            known.any(|known| known.name == **wanted)
        }) else {
            restart(backend.as_ref(), record).await?;
            return Ok("dropped: the snapshot is gone");
        };
        let restored = backend
            .restore(&record.instance, snapshot, &Progress::none())
            .await;
        // Also where that failed: it ran before.
        restart(backend.as_ref(), record).await?;
        restored?;
        self.delete_used_copy(backend.as_ref(), record).await;
        Ok("finished")
    }

    /// Gives up what a restore kept that then changed nothing: to undo it would do nothing.
    pub(super) async fn discard_copy(
        &self,
        backend: &dyn Backend,
        record: &OperationRecord,
    ) -> Result<()> {
        let copy = SnapshotName::undo(&record.id);
        match backend.delete_snapshot(&record.instance, &copy).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            deleted => deleted?,
        }
        self.delete_entry(&record.id)
    }

    async fn finish_remove(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<&'static str> {
        if find(backend.as_ref(), &record.instance).await?.is_some() {
            // Neither renamed nor deleted.
            self.undo_removal(backend.as_ref(), record).await?;
            return Ok("taken back");
        }
        // A project that is gone needs no change.
        if let Some(mut project) = open_if_there(record)?
            && project.file().entry(&record.env.env).is_some()
        {
            let env = record.env.env.clone();
            project.change(&[Change::RemoveEnv { env }])?;
        }
        let aside = InstanceName::undo(&record.id);
        Ok(match find(backend.as_ref(), &aside).await? {
            Some(_) => {
                self.move_sleep_mark(&record.instance, &aside)?;
                "finished; it can be undone"
            }
            None => {
                self.delete_sleep_mark(&record.instance)?;
                "finished"
            }
        })
    }

    async fn finish_undo_of_removal(
        &self,
        backend: &Arc<dyn Backend>,
        record: &OperationRecord,
    ) -> Result<&'static str> {
        let entry = match &record.undoes {
            Some(id) => self.ledger_entry(id)?,
            None => None,
        };
        if let Some(entry) = entry {
            let Some(mut project) = open_if_there(record)? else {
                return Ok("dropped: its project is gone");
            };
            self.finish_restore_removed(&mut project, backend.as_ref(), &entry)
                .await?;
        }
        restart(backend.as_ref(), record).await?;
        Ok("finished")
    }
}

fn open(record: &OperationRecord) -> Result<Project> {
    Project::open(std::path::Path::new(&record.env.project_path))
}

/// What was copied into an env can be recovered only while that runs; until then it is in nobody's way.
async fn must_wait(backend: &dyn Backend, record: &OperationRecord) -> Result<bool> {
    if !matches!(record.detail, Some(Detail::IntoGuest { .. })) {
        return Ok(false);
    }
    let instance = find(backend, &record.instance).await?;
    Ok(instance.is_some_and(|found| !found.status.is_up()))
}

pub(super) fn open_if_there(record: &OperationRecord) -> Result<Option<Project>> {
    match open(record) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

/// The instance of this exact name in one engine.
pub(super) async fn find(backend: &dyn Backend, name: &InstanceName) -> Result<Option<Instance>> {
    match backend.instance(name).await {
        Ok(instance) => Ok(Some(instance)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A creation counts once the file has its snapshot; before that it is taken back. Only what carries
/// this operation's own mark, or is this env's and unfinished, is deleted.
async fn recover_create(backend: &dyn Backend, journal: &Journal) -> Result<&'static str> {
    let record = &journal.record;
    let Some(instance) = find(backend, &record.instance).await? else {
        return Ok("dropped: nothing was made yet");
    };
    if !is_made_by(&instance, journal) {
        return Ok("dropped: what has its name now is another's");
    }
    let initial = SnapshotName::initial_state();
    // Where snapshots are forbidden, an env is whole without one.
    let without = !backend.capabilities().await?.snapshots;
    let taken = instance.snapshots.iter().any(|taken| taken.name == initial);
    // A file that can't be read now says nothing, and nothing is deleted then.
    let registered = open_if_there(record)?.is_some_and(|project| {
        let entry = project.file().entry(&record.env.env);
        entry.is_some_and(|entry| without || entry.snapshots.contains_key(initial.as_str()))
    });
    if instance.marks.operation.is_none() && (taken || without) && registered {
        return Ok("finished");
    }
    force_delete(backend, &record.instance).await?;
    Ok("taken back")
}

/// Whether an instance is what a creation made: it carries the operation's mark, or has lost that as
/// the last but one step and is this env's of this directory.
pub(super) fn is_made_by(instance: &Instance, journal: &Journal) -> bool {
    let (marks, record) = (&instance.marks, &journal.record);
    match &marks.operation {
        Some(operation) => *operation == record.id,
        None => {
            let path = marks.path.as_ref().map(|path| path.display().to_string());
            journal.step != JournalStep::Preparing
                && path.as_deref() == Some(record.env.project_path.as_str())
                && marks.env.as_ref() == Some(&record.env.env)
        }
    }
}

/// Starts again what ran before.
pub(super) async fn restart(backend: &dyn Backend, record: &OperationRecord) -> Result<()> {
    match record.was_running {
        true => start_if_stopped(backend, &record.instance).await,
        false => Ok(()),
    }
}

/// Starts an instance; one that runs, and one that is gone, are a success.
pub(super) async fn start_if_stopped(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    match backend.start(name).await {
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
        started => started,
    }
}
