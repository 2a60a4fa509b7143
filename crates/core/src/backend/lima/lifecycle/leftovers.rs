//! Leftovers of killed operations, and of machines deleted or renamed outside of this program.
//!
//! Snapshots belong to the machine whose record has their id, whatever its name. Without such a record in `LIMA_HOME`
//! they are orphaned. While any record is unreadable nothing counts as orphaned, because its id is unknown.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use uuid::Uuid;

use super::super::backend::Lima;
use super::super::blocking::blocking;
use super::super::machine::directory::Directory;
use super::super::machine::record::{self, Record};
use super::super::snapshots::{Snapshots, rename};
use crate::backend::Leftover;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// Name prefix of snapshots that are being deleted.
const DELETED_PREFIX: &str = ".gone-";

impl Lima {
    /// Deletes incomplete files of a killed operation on a machine; the caller holds the env's lock.
    pub(crate) async fn sweep_after(&self, name: &InstanceName) {
        self.sweep().await;
        let record = self
            .existing(name)
            .and_then(|machine| self.record(name, &machine));
        let snapshots = record.ok().map(|record| self.snapshots(&record));
        let images = self.image_store();
        let swept = blocking(move || {
            if let Some(snapshots) = snapshots {
                snapshots.sweep();
            }
            images.sweep()
        });
        if let Err(error) = swept.await {
            tracing::info!(?error, %name, "cannot delete leftovers of a killed operation");
        }
    }

    /// Returns the ids of all machines, including drafts and copies made by Lima.
    ///
    /// # Errors
    /// `Config` for an unreadable record, `Io`.
    fn known_ids(&self) -> Result<BTreeSet<Uuid>> {
        let home = self.limactl.home();
        let failed = |error| Error::io(format!("cannot read {}", home.display()), error);
        let mut known_ids = BTreeSet::new();
        for entry in fs::read_dir(home).map_err(failed)? {
            let machine = entry.map_err(failed)?.path();
            if let Some(id) = record::id_at(&machine.join(record::FILE))? {
                known_ids.insert(id);
            }
        }
        Ok(known_ids)
    }

    /// Lists snapshots of deleted machines.
    pub(crate) fn orphans(&self) -> Result<Vec<Leftover>> {
        let root = self.state_dir().join("snapshots");
        // Read first: a machine created meanwhile has no snapshots yet.
        let ids: BTreeSet<Uuid> = names_in(&root)?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let known_ids = self.known_ids()?;
        let orphans = ids.into_iter().filter(|id| !known_ids.contains(id));
        Ok(orphans.map(|id| self.leftover(id)).collect())
    }

    fn leftover(&self, id: Uuid) -> Leftover {
        let (machine, count, bytes) = Snapshots::new(&self.state_dir(), id).summary();
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

    /// Deletes the snapshots of a deleted machine.
    pub(crate) fn delete_orphan(&self, id: &str) -> Result<()> {
        let orphans = self.orphans()?;
        if !orphans.iter().any(|known| known.id == id) {
            let message = format!("no orphaned snapshots with id {id}");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let root = self.state_dir().join("snapshots");
        let deleted = root.join(format!("{DELETED_PREFIX}{}", Uuid::new_v4()));
        rename(&root.join(id), &deleted)?;
        self.finish_deletions();
        Ok(())
    }

    /// Finishes interrupted deletions.
    pub(crate) fn finish_deletions(&self) {
        let root = self.state_dir().join("snapshots");
        for name in names_in(&root).unwrap_or_default() {
            if name.starts_with(DELETED_PREFIX) {
                // Retried by the next sweep.
                let _ = fs::remove_dir_all(root.join(name));
            }
        }
    }

    /// Lists our machines renamed outside of this program: current and previous name.
    pub(crate) fn renamed(&self) -> Result<Vec<(InstanceName, String)>> {
        let all = Directory::all(self.limactl.home())?.into_iter();
        let renamed = all.filter_map(|(name, machine)| {
            let record = Record::read(&machine, &name).ok()??;
            let old = record.previous_name(&name)?;
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
