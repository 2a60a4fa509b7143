//! What is left by a killed operation of ours, and of machines that somebody has deleted or renamed past us, by `limactl`
//! or by hand.
//!
//! Snapshots lie beside the machines and belong to the one whose record has their id, whatever its name is. Where no
//! directory below `LIMA_HOME` has such a record they belong to nobody. Of a record that can't be read nobody
//! knows the id, so nothing is left then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use uuid::Uuid;

use crate::backend::Leftover;
use crate::backend::lima::Lima;
use crate::backend::lima::blocking;
use crate::backend::lima::machine::directory::Directory;
use crate::backend::lima::machine::record::{self, Record};
use crate::backend::lima::snapshots::{Snapshots, rename};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// How the names of what is being deleted begin.
const GONE: &str = ".gone-";

impl Lima {
    /// Deletes what a killed operation on a machine has begun to write. Nobody else is at it: who calls has the env's lock.
    pub(crate) async fn sweep_after(&self, name: &InstanceName) {
        self.sweep().await;
        let record = self
            .existing(name)
            .and_then(|machine| self.record(name, &machine));
        let snapshots = record.ok().map(|record| self.snapshots(&record));
        let images = self.images_of_ours();
        let swept = blocking(move || {
            if let Some(snapshots) = snapshots {
                snapshots.sweep();
            }
            images.sweep()
        });
        if let Err(error) = swept.await {
            tracing::info!(?error, %name, "what a killed operation has left stays");
        }
    }

    /// The ids of all machines, and where their records are: those that aren't complete too, and copies
    /// that Lima itself has made.
    ///
    /// # Errors
    /// `Config` for a record that can't be read, `Io`.
    fn claimed(&self) -> Result<BTreeMap<Uuid, PathBuf>> {
        let home = self.limactl.home();
        let failed = |error| Error::io(format!("cannot read {}", home.display()), error);
        let mut claimed = BTreeMap::new();
        for entry in fs::read_dir(home).map_err(failed)? {
            let machine = entry.map_err(failed)?.path();
            if let Some(id) = record::id_at(&machine.join(record::FILE))? {
                claimed.insert(id, machine);
            }
        }
        Ok(claimed)
    }

    /// Snapshots of machines that there are no more.
    pub(crate) fn orphans(&self) -> Result<Vec<Leftover>> {
        let root = self.ours().join("snapshots");
        // First those that there are: a machine that comes meanwhile has none yet.
        let ids: BTreeSet<Uuid> = names_in(&root)?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let claimed = self.claimed()?;
        let orphans = ids.into_iter().filter(|id| !claimed.contains_key(id));
        Ok(orphans.map(|id| self.leftover(id)).collect())
    }

    fn leftover(&self, id: Uuid) -> Leftover {
        let (machine, count, bytes) = Snapshots::of(&self.ours(), id).summary();
        let snapshots = match count {
            1 => "a snapshot".to_owned(),
            count => format!("{count} snapshots"),
        };
        Leftover {
            id: id.to_string(),
            what: match machine {
                Some(machine) => format!("{snapshots} of the machine `{machine}`"),
                None => format!("{snapshots} of a machine"),
            },
            bytes,
        }
    }

    /// Deletes the snapshots of a machine that there is no more.
    pub(crate) fn delete_orphan(&self, id: &str) -> Result<()> {
        let orphans = self.orphans()?;
        if !orphans.iter().any(|known| known.id == id) {
            let message = format!("nobody has left {id}, or it has a machine again");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let root = self.ours().join("snapshots");
        let gone = root.join(format!("{GONE}{}", Uuid::new_v4()));
        rename(&root.join(id), &gone)?;
        self.sweep_gone();
        Ok(())
    }

    /// Deletes what was on its way out already.
    pub(crate) fn sweep_gone(&self) {
        let root = self.ours().join("snapshots");
        for name in names_in(&root).unwrap_or_default() {
            if name.starts_with(GONE) {
                // The next one tries again.
                let _ = fs::remove_dir_all(root.join(name));
            }
        }
    }

    /// Machines of ours that have another name than we gave them: who has it now, and what it was.
    pub(crate) fn renamed(&self) -> Result<Vec<(InstanceName, String)>> {
        let all = Directory::all(self.limactl.home())?.into_iter();
        let renamed = all.filter_map(|(name, machine)| {
            let record = Record::read(&machine, &name).ok()??;
            let old = record.other_name(&name)?;
            Some((name, old))
        });
        Ok(renamed.collect())
    }
}

fn names_in(directory: &std::path::Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("cannot read {}", directory.display());
            return Err(Error::io(message, error));
        }
    };
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.collect())
}
