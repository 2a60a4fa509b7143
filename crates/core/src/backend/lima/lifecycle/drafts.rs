//! Machines that aren't complete.
//!
//! Lima makes a machine under a name of ours (`ldm-new-…`), a copy is put together in our own directory, and either is
//! renamed when it is complete: so a killed process leaves none half made. What was left is swept by the next who
//! makes or deletes one: a file that its maker holds locked says whether anybody still works on it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::backend::Progress;
use crate::backend::lima::Lima;
use crate::backend::lima::lifecycle::{KILL_PATIENCE, put_in_place};
use crate::backend::lima::limactl::{self, Call};
use crate::backend::lima::machine::record::Record;
use crate::backend::lima::snapshots::make_directory;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// How the names of machines that aren't complete begin.
const NEW: &str = "ldm-new-";
/// Images are downloaded meanwhile.
const CREATE_TIMEOUT: Duration = Duration::from_secs(3600);

/// A machine that is being made, under a name of ours.
pub(crate) struct Draft {
    pub(crate) name: InstanceName,
    /// Its settings; locked while its maker lives.
    file: File,
    pub(crate) path: PathBuf,
}

impl Draft {
    /// One that nobody sweeps while it lives.
    pub(crate) fn new(ours: &Path) -> Result<Self> {
        loop {
            let draft = Self::begin(ours)?;
            // Between its making and its lock somebody may have swept it.
            if draft.path.symlink_metadata().is_ok() {
                return Ok(draft);
            }
        }
    }

    fn begin(ours: &Path) -> Result<Self> {
        let directory = ours.join("new");
        make_directory(&directory)?;
        let random = Uuid::new_v4().simple().to_string();
        let name = InstanceName::parse(&format!("{NEW}{}", &random[..8]))?;
        let path = file_of(&directory, &name);
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.lock().map(|()| file));
        let file =
            made.map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        Ok(Self { name, file, path })
    }

    fn write(&self, text: &str) -> Result<()> {
        let written = (&self.file).write_all(text.as_bytes());
        written.map_err(|error| Error::io(format!("cannot write {}", self.path.display()), error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // One that stays is swept.
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether a machine's name says that it isn't complete.
pub(crate) fn is_draft(name: &InstanceName) -> bool {
    name.as_str().starts_with(NEW)
}

/// A name as long as those of all drafts.
pub(crate) fn longest_draft() -> Result<InstanceName> {
    InstanceName::parse(&format!("{NEW}12345678"))
}

/// The file of a draft.
fn file_of(directory: &Path, draft: &InstanceName) -> PathBuf {
    directory.join(format!("{draft}.yaml"))
}

impl Lima {
    /// Has Lima make a machine of these settings.
    pub(crate) async fn make(
        &self,
        yaml: &str,
        mut record: Record,
        name: &InstanceName,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.expect_free(name)?;
        self.sweep().await;
        let draft = Draft::new(&self.ours())?;
        draft.write(yaml)?;
        let path = draft.path.clone();
        let name_of_draft = format!("--name={}", draft.name);
        let mut call = Call::new(&["create", &name_of_draft], CREATE_TIMEOUT);
        call.arguments.push(path.as_os_str());
        call.machine = Some(name);
        call.progress = Some(progress);
        call.cancel = Some(cancel);
        let made = match cancel.is_cancelled() {
            true => Err(Error::new(ErrorKind::Cancelled, "stopped by the user")),
            false => self.limactl.succeed(&call).await.map(drop),
        };
        let made = made.and_then(|()| {
            let machine = self.directory(&draft.name);
            record.rename(None, name);
            record.write(&machine)?;
            put_in_place(machine.path(), self.directory(name).path())
        });
        if made.is_err() {
            let _ = self.discard(&draft.name).await;
        }
        made
    }

    /// What Lima has against settings: nothing where they are good; `None` where there is no Lima to ask.
    ///
    /// # Errors
    /// Those of calling it.
    pub async fn validate(&self, yaml: &str) -> Result<Option<Vec<String>>> {
        if self.limactl.program().is_none() {
            return Ok(None);
        }
        let draft = Draft::new(&self.ours())?;
        draft.write(yaml)?;
        let mut call = Call::new(&["validate"], limactl::ASK_PATIENCE);
        call.arguments.push(draft.path.as_os_str());
        let answer = self.limactl.run(&call).await?;
        Ok(Some(match answer.status.success() {
            true => Vec::new(),
            false => vec![answer.reason()],
        }))
    }

    /// Deletes what was made under a name of ours, and says whether nothing is left; what stays is swept later.
    async fn discard(&self, draft: &InstanceName) -> bool {
        let machine = self.directory(draft);
        if machine.path().symlink_metadata().is_err() {
            return true;
        }
        if machine.is_whole() {
            let call = Call::change(&["delete", "-f"], draft, KILL_PATIENCE);
            let deleted = match machine.forget_strangers() {
                Ok(()) => self.limactl.run(&call).await.map(drop),
                Err(error) => Err(error),
            };
            if let Err(error) = deleted {
                tracing::warn!(?error, %draft, "Lima doesn't delete what it has begun");
                return false;
            }
        }
        // Lima refuses to delete what isn't whole.
        fs::remove_dir_all(machine.path()).is_ok() || machine.path().symlink_metadata().is_err()
    }

    /// Deletes what killed processes have left under names of ours.
    pub(crate) async fn sweep(&self) {
        self.sweep_gone();
        let directory = self.ours().join("new");
        for draft in self.drafts(&directory) {
            let path = file_of(&directory, &draft);
            let file = File::open(&path);
            // Locked: somebody is at it. Without a file nobody is, for it is there first and goes last.
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

    /// All drafts of which anything is there: a file, a copy, or a machine.
    fn drafts(&self, directory: &Path) -> BTreeSet<InstanceName> {
        let name = |path: &Path| {
            let name = InstanceName::parse(path.file_stem()?.to_str()?).ok()?;
            is_draft(&name).then_some(name)
        };
        let places = [self.limactl.home(), directory];
        let entries = places
            .iter()
            .flat_map(|place| fs::read_dir(place).into_iter().flatten());
        entries
            .flatten()
            .filter_map(|entry| name(&entry.path()))
            .collect()
    }
}
