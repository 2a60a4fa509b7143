//! What is told of machines: by their files, and by their guests.

use std::net::IpAddr;

use crate::backend::lima::Lima;
use crate::backend::lima::copy;
use crate::backend::lima::lifecycle::drafts;
use crate::backend::lima::machine::directory::{self, Directory};
use crate::backend::lima::machine::record::Record;
use crate::backend::lima::machine::settings;
use crate::backend::{Instance, Usage, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, SnapshotName};

/// Prints what a guest uses.
const USAGE: &str = include_str!("usage.sh");

impl Lima {
    /// A machine as its files tell of it.
    pub(crate) fn look(
        &self,
        name: &InstanceName,
        status: EnvStatus,
        with_snapshots: bool,
    ) -> Result<Instance> {
        let machine = self.directory(name);
        let record = Record::read(&machine, name)?;
        let yaml = machine.text(directory::YAML);
        let read = yaml.and_then(|yaml| settings::read(&yaml.unwrap_or_default(), record.as_ref()));
        // One whose settings can't be read is there all the same, with what was asked for. Lima says that it is broken.
        let settings = read.unwrap_or_else(|error| {
            tracing::debug!(?error, %name, "the settings of a machine can't be read");
            settings::recorded(record.as_ref())
        });
        let boot = machine.boot();
        let is_up = status == EnvStatus::Running;
        let own = record.as_ref().and_then(|record| record.address);
        let address = own.filter(|(agent, _)| boot.is_some_and(|(now, _)| now == *agent));
        Ok(Instance {
            name: name.clone(),
            status,
            started_at: boot.and_then(|(_, since)| since).filter(|_| is_up),
            address: address.map(|(_, address)| address).filter(|_| is_up),
            marks: record.as_ref().map(Record::marks).unwrap_or_default(),
            snapshots: match &record {
                Some(record) if with_snapshots => self.snapshots(record).all()?,
                _ => Vec::new(),
            },
            settings,
            is_foreign: record.is_none(),
            base_image: record.and_then(|record| record.base_image),
            location: None,
        })
    }

    /// All machines.
    pub(crate) fn look_at_all(
        &self,
        with_snapshots: bool,
        status: impl Fn(&InstanceName, &Directory) -> EnvStatus,
    ) -> Result<Vec<Instance>> {
        let all = Directory::all(self.limactl.home())?.into_iter();
        let whole = all.filter(|(name, _)| !drafts::is_draft(name));
        let seen = whole.filter_map(|(name, machine)| {
            let status = status(&name, &machine);
            match self.look(&name, status, with_snapshots) {
                Ok(instance) => Some(instance),
                // It went while we looked, or nobody knows whose it is: not ours to list then.
                Err(error) => {
                    tracing::warn!(?error, %name, "a machine can't be looked at");
                    None
                }
            }
        });
        Ok(seen.collect())
    }

    /// What a running guest uses.
    pub(crate) async fn look_inside(&self, name: &InstanceName) -> Result<Usage> {
        let machine = self.existing(name)?;
        let output = run_script(self, name, USAGE, &[], Vec::new()).await?;
        let mut usage = Usage {
            disk: machine.disk().ok().map(|disk| copy::held(&disk)),
            ..Usage::default()
        };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("processes", count)) => usage.processes = count.parse().ok(),
                Some(("memory", bytes)) => usage.memory = bytes.parse().ok(),
                Some(("cpu", time)) => usage.cpu_nanoseconds = time.parse().ok(),
                Some(("address", address)) => {
                    usage.addresses.extend(address.parse::<IpAddr>().ok())
                }
                _ => {}
            }
        }
        Ok(usage)
    }

    /// Bytes that one of a machine's snapshots holds, or the machine with all of them. Where blocks are
    /// shared it is more than would be free without it: nobody tells how many are.
    pub(crate) fn weigh(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<u64> {
        let machine = self.existing(name)?;
        let record = Record::read(&machine, name)?;
        let snapshots = record.map(|record| self.snapshots(&record));
        match (snapshot, snapshots) {
            (Some(snapshot), Some(snapshots)) => snapshots.held_by(snapshot),
            (Some(snapshot), None) => {
                let message = format!("`{name}` has no snapshot `{snapshot}`");
                Err(Error::new(ErrorKind::NotFound, message))
            }
            (None, snapshots) => {
                let own = machine.disk().map_or(0, |disk| copy::held(&disk));
                let mut all = own;
                if let Some(snapshots) = snapshots {
                    for one in snapshots.all()? {
                        all += snapshots.held_by(&one.name)?;
                    }
                }
                Ok(all)
            }
        }
    }
}
