//! Reads the state of machines from their files, and the usage from their guests.

use std::net::IpAddr;

use super::super::backend::Lima;
use super::super::copy;
use super::directory::{self, Directory};
use super::record::Record;
use super::settings;
use crate::backend::{Instance, Usage, run_script};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, InstanceName, SnapshotName};

/// Prints the guest's usage.
const USAGE: &str = include_str!("usage.sh");

impl Lima {
    /// Describes a machine by its files.
    pub(crate) fn inspect(
        &self,
        name: &InstanceName,
        status: EnvStatus,
        with_snapshots: bool,
    ) -> Result<Instance> {
        let machine = self.directory(name);
        let record = Record::read(&machine, name)?;
        let yaml = machine.text(directory::YAML);
        let read = yaml.and_then(|yaml| settings::read(&yaml.unwrap_or_default(), record.as_ref()));
        // A machine with unreadable settings is still listed, with those in its record; Lima reports it as broken.
        let settings = read.unwrap_or_else(|error| {
            tracing::debug!(?error, %name, "cannot read the settings of a machine");
            settings::requested_settings(record.as_ref())
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

    /// Describes all machines.
    pub(crate) fn inspect_all(
        &self,
        with_snapshots: bool,
        status: impl Fn(&InstanceName, &Directory) -> EnvStatus,
    ) -> Result<Vec<Instance>> {
        let all = Directory::all(self.limactl.home())?.into_iter();
        let complete = all.filter(|(name, _)| !super::super::draft_name::is_draft(name));
        let instances = complete.filter_map(|(name, machine)| {
            let status = status(&name, &machine);
            match self.inspect(&name, status, with_snapshots) {
                Ok(instance) => Some(instance),
                // Deleted meanwhile, or of unknown owner.
                Err(error) => {
                    tracing::warn!(?error, %name, "cannot inspect a machine");
                    None
                }
            }
        });
        Ok(instances.collect())
    }

    /// Reads the usage of a running guest.
    pub(crate) async fn guest_usage(&self, name: &InstanceName) -> Result<Usage> {
        let machine = self.existing(name)?;
        let output = run_script(self, name, USAGE, &[], Vec::new()).await?;
        let mut usage = Usage {
            disk: machine.disk().ok().map(|disk| copy::allocated(&disk)),
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

    /// Bytes allocated by one snapshot, or by the machine with all its snapshots. An upper bound if blocks are shared.
    pub(crate) fn allocated_bytes(
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
                let own = machine.disk().map_or(0, |disk| copy::allocated(&disk));
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
