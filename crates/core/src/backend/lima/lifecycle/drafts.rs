//! Drafts: machines that are not complete yet.
//!
//! Lima creates a machine as `ldm-new-…`, a copy is assembled in the state directory; both are renamed when complete,
//! so a killed process leaves no incomplete machine under its final name. Each draft has a file locked by its creator;
//! unlocked drafts are deleted by the next operation that creates or deletes a machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::backend::Lima;
use super::super::draft_name::{DRAFT_PREFIX, is_draft};
use super::super::limactl::{self, Call};
use super::super::machine::record::Record;
use super::{KILL_TIMEOUT, rename_to_final};
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::home::create_private_directory;
use crate::model::InstanceName;

/// Includes downloading images.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3600);

/// A machine that is being created.
pub(crate) struct Draft {
    pub(crate) name: InstanceName,
    /// Its settings; locked while its creator lives.
    file: File,
    pub(crate) path: PathBuf,
}

impl Draft {
    /// Creates a draft that is not swept until it is dropped.
    pub(crate) fn new(state_dir: &Path) -> Result<Self> {
        loop {
            let draft = Self::begin(state_dir)?;
            // It may have been swept before it was locked.
            if draft.path.symlink_metadata().is_ok() {
                return Ok(draft);
            }
        }
    }

    fn begin(state_dir: &Path) -> Result<Self> {
        let directory = state_dir.join("new");
        create_private_directory(&directory)?;
        let random = Uuid::new_v4().simple().to_string();
        let name = InstanceName::parse(&format!("{DRAFT_PREFIX}{}", &random[..8]))?;
        let path = file_of(&directory, &name);
        let created = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file));
        let file = created
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        Ok(Self { name, file, path })
    }

    fn write(&self, text: &str) -> Result<()> {
        let written = (&self.file).write_all(text.as_bytes());
        written.map_err(|error| Error::io(format!("cannot write {}", self.path.display()), error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Swept later if this fails.
        let _ = fs::remove_file(&self.path);
    }
}

/// A name as long as that of any draft.
pub(crate) fn longest_draft() -> Result<InstanceName> {
    InstanceName::parse(&format!("{DRAFT_PREFIX}12345678"))
}

fn file_of(directory: &Path, draft: &InstanceName) -> PathBuf {
    directory.join(format!("{draft}.yaml"))
}

impl Lima {
    /// Creates a machine with these settings.
    pub(crate) async fn create_machine(
        &self,
        yaml: &str,
        mut record: Record,
        name: &InstanceName,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.ensure_free(name)?;
        self.sweep().await;
        let draft = Draft::new(&self.state_dir())?;
        draft.write(yaml)?;
        let path = draft.path.clone();
        let name_of_draft = format!("--name={}", draft.name);
        let mut call = Call::new(&["create", &name_of_draft], CREATE_TIMEOUT);
        call.arguments.push(path.as_os_str());
        call.machine = Some(name);
        call.progress = Some(progress);
        call.cancel = Some(cancel);
        let created = if cancel.is_cancelled() {
            Err(Error::new(ErrorKind::Cancelled, "cancelled by the user"))
        } else {
            self.limactl.succeed(&call).await.map(drop)
        };
        let created = created.and_then(|()| {
            let machine = self.directory(&draft.name);
            record.rename(None, name);
            record.write(&machine)?;
            rename_to_final(machine.path(), self.directory(name).path())
        });
        if created.is_err() {
            let _ = self.discard(&draft.name).await;
        }
        created
    }

    /// Returns Lima's complaints about settings; `None` without Lima.
    ///
    /// # Errors
    /// As for calling `limactl`.
    pub async fn validate(&self, yaml: &str) -> Result<Option<Vec<String>>> {
        if self.limactl.program().is_none() {
            return Ok(None);
        }
        let draft = Draft::new(&self.state_dir())?;
        draft.write(yaml)?;
        let mut call = Call::new(&["validate"], limactl::QUERY_TIMEOUT);
        call.arguments.push(draft.path.as_os_str());
        let output = self.limactl.run(&call).await?;
        Ok(Some(if output.status.success() {
            Vec::new()
        } else {
            vec![output.reason()]
        }))
    }

    /// Deletes a draft's machine and returns whether nothing is left; the rest is swept later.
    async fn discard(&self, draft: &InstanceName) -> bool {
        let machine = self.directory(draft);
        if machine.path().symlink_metadata().is_err() {
            return true;
        }
        if machine.is_complete() {
            let call = Call::change(&["delete", "-f"], draft, KILL_TIMEOUT);
            let deleted = match machine.delete_foreign_pid_files() {
                Ok(()) => self.limactl.run(&call).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = deleted {
                tracing::warn!(?error, %draft, "cannot delete a draft");
                return false;
            }
        }
        // Lima refuses to delete incomplete machines.
        fs::remove_dir_all(machine.path()).is_ok() || machine.path().symlink_metadata().is_err()
    }

    /// Deletes drafts of killed processes.
    pub(crate) async fn sweep(&self) {
        self.finish_deletions();
        let directory = self.state_dir().join("new");
        for draft in self.drafts(&directory) {
            let path = file_of(&directory, &draft);
            let file = File::open(&path);
            // Locked: in use. The file is created first and deleted last, so without it the draft is abandoned.
            if file.as_ref().is_ok_and(|file| file.try_lock().is_err()) {
                continue;
            }
            let part = fs::remove_dir_all(path.with_extension("d"));
            let is_gone = part.is_ok() || path.with_extension("d").symlink_metadata().is_err();
            if self.discard(&draft).await && is_gone {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Lists all drafts of which a file, a copy or a machine exists.
    fn drafts(&self, directory: &Path) -> BTreeSet<InstanceName> {
        let name = |path: &Path| {
            let name = InstanceName::parse(path.file_stem()?.to_str()?).ok()?;
            is_draft(&name).then_some(name)
        };
        let directories = [self.limactl.home(), directory];
        let entries = directories
            .iter()
            .flat_map(|parent| fs::read_dir(parent).into_iter().flatten());
        entries
            .flatten()
            .filter_map(|entry| name(&entry.path()))
            .collect()
    }
}
