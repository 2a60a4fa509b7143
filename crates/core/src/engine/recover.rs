//! Finishing or taking back what a killed process left half done.

use super::Engine;
use super::create::delete_whatever_state;
use super::journal::{Journal, JournalStep, Record};
use super::lock::EnvLock;
use crate::backend::{Backend, Instance};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{EnvStatus, InstanceName, SnapshotName};
use crate::project::{Change, Project};
use crate::view::Verb;

impl Engine {
    /// Looks for journals without an owner, mends what they tell of, and says so on the bus. Also
    /// deletes what can no longer be undone.
    ///
    /// # Errors
    /// `Io` where the journal's directory can't be read. What can't be mended now (its engine is
    /// away) stays for the next time, with a notice.
    pub async fn recover(&self) -> Result<()> {
        for journal in Journal::orphans(&self.home)? {
            let record = journal.record.clone();
            let what = format!("{} of `{}`", record.verb.word(), record.env.env);
            match self.mend(&journal).await {
                Ok(outcome) => {
                    journal.close();
                    self.notice(format!("an interrupted {what} was {outcome}"));
                }
                Err(error) => {
                    let why = error.report().message;
                    self.notice(format!("an interrupted {what} can't be mended yet: {why}"));
                }
            }
        }
        self.expire().await
    }

    /// What killed processes left half done, in words; nothing is mended.
    ///
    /// # Errors
    /// `Io` where the journal's directory can't be read.
    pub fn interrupted(&self) -> Result<Vec<String>> {
        let orphans = Journal::orphans(&self.home)?;
        Ok(orphans
            .iter()
            .map(|journal| {
                let (verb, env) = (journal.record.verb.word(), &journal.record.env.env);
                format!("an interrupted {verb} of `{env}` will be mended by the next change")
            })
            .collect())
    }

    fn notice(&self, text: String) {
        self.bus.publish(EventKind::Notice(text));
    }

    async fn mend(&self, journal: &Journal) -> Result<&'static str> {
        let record = &journal.record;
        let waiting = |text| self.notice(text);
        let _lock = EnvLock::take(&self.home, &record.instance, record.verb, waiting).await?;
        let backend = self.backend_at(record.engine, &record.address)?;
        let backend = backend.as_ref();
        backend.settle(&record.instance).await?;
        match (record.verb, journal.step) {
            (Verb::Create, step) => mend_create(backend, record, step).await,
            (Verb::Restore | Verb::Undo, JournalStep::Committing) => {
                finish_restore(backend, record).await
            }
            (Verb::Snapshot, _) => self.mend_snapshot(backend, record).await,
            (Verb::Remove, JournalStep::Preparing) => restart(backend, record).await,
            (Verb::Remove, JournalStep::Committing) => finish_remove(backend, record).await,
            _ => Ok("dropped: nothing was changed yet"),
        }
    }

    /// A snapshot that the engine has and the file doesn't know is written into the file.
    async fn mend_snapshot(&self, backend: &dyn Backend, record: &Record) -> Result<&'static str> {
        let Some(snapshot) = &record.snapshot else {
            return Ok("dropped");
        };
        let instance = match backend.instance(&record.instance).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok("dropped"),
            found => found?,
        };
        let Some(taken) = instance
            .snapshots
            .iter()
            .find(|known| known.name == *snapshot)
        else {
            return Ok("dropped: nothing was taken yet");
        };
        let mut project = open(record)?;
        let entry = project.file().entry(&record.env.env);
        if entry.is_some_and(|entry| !entry.snapshots.contains_key(snapshot.as_str())) {
            project.change(&Change::AddSnapshot {
                env: record.env.env.clone(),
                snapshot: snapshot.clone(),
                description: None,
                created_at: crate::project::whole_seconds(taken.created_at),
            })?;
        }
        Ok("finished")
    }
}

fn open(record: &Record) -> Result<Project> {
    Project::open(std::path::Path::new(&record.env.project_path))
}

async fn find(backend: &dyn Backend, name: &InstanceName) -> Result<Option<Instance>> {
    match backend.instance(name).await {
        Ok(instance) => Ok(Some(instance)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A creation counts once the file has its snapshot; before that it is taken back. Only what carries
/// this operation's own mark, or is this env's and unfinished, is deleted.
async fn mend_create(
    backend: &dyn Backend,
    record: &Record,
    step: JournalStep,
) -> Result<&'static str> {
    let Some(instance) = find(backend, &record.instance).await? else {
        return Ok("dropped: nothing was made yet");
    };
    let registered = open(record).is_ok_and(|project| {
        let entry = project.file().entry(&record.env.env);
        entry.is_some_and(|entry| {
            entry
                .snapshots
                .contains_key(SnapshotName::initial_state().as_str())
        })
    });
    let marked = instance.marks.operation.as_ref() == Some(&record.id);
    if step == JournalStep::Committing && registered && !marked {
        return Ok("finished");
    }
    let path = instance
        .marks
        .path
        .as_ref()
        .map(|path| path.display().to_string());
    let this_env = path.as_deref() == Some(record.env.project_path.as_str())
        && instance.marks.env.as_ref() == Some(&record.env.env);
    if marked || (step == JournalStep::Committing && this_env) {
        delete_whatever_state(backend, &record.instance).await?;
        return Ok("taken back");
    }
    Err(Error::new(
        ErrorKind::NotOurs,
        format!(
            "instance `{}` isn't what that operation made",
            record.instance
        ),
    ))
}

/// A restore that was begun is finished: setting back twice gives the same state.
async fn finish_restore(backend: &dyn Backend, record: &Record) -> Result<&'static str> {
    let Some(instance) = find(backend, &record.instance).await? else {
        return Ok("dropped: the env is gone");
    };
    let Some(snapshot) = &record.snapshot else {
        return Ok("dropped");
    };
    if !instance
        .snapshots
        .iter()
        .any(|known| known.name == *snapshot)
    {
        restart(backend, record).await?;
        return Ok("dropped: the snapshot is gone");
    }
    if instance.status == EnvStatus::Running {
        backend.stop(&record.instance, true).await?;
    }
    backend.restore(&record.instance, snapshot).await?;
    restart(backend, record).await?;
    Ok("finished")
}

async fn finish_remove(backend: &dyn Backend, record: &Record) -> Result<&'static str> {
    let aside = InstanceName::undo(&record.id);
    if find(backend, &record.instance).await?.is_some() {
        // Neither renamed nor deleted.
        return restart(backend, record).await;
    }
    if let Ok(mut project) = open(record)
        && project.file().entry(&record.env.env).is_some()
    {
        project.change(&Change::RemoveEnv {
            env: record.env.env.clone(),
        })?;
    }
    let kept = find(backend, &aside).await?.is_some();
    Ok(if kept {
        "finished; it can be undone"
    } else {
        "finished"
    })
}

/// Starts again what ran before.
async fn restart(backend: &dyn Backend, record: &Record) -> Result<&'static str> {
    if record.was_running {
        match backend.start(&record.instance).await {
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => {}
            started => started?,
        }
    }
    Ok("taken back")
}
