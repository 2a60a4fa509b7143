//! Snapshots of machines that may be running: they are stopped, and started again.
//!
//! Exception: an env's initial snapshot, for which a second boot would double the time of its creation. If possible,
//! the guest is frozen instead ([`freeze`](super::freeze)).

use crate::backend::Snapshots;
use async_trait::async_trait;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::super::backend::Lima;
use super::super::blocking::blocking;
use super::super::machine::directory::{self, Directory};
use super::super::machine::settings;
use super::super::{copy, images, lifecycle};
use crate::backend::Progress;
use crate::error::Result;
use crate::model::{Fingerprint, ImageName, InstanceName, SnapshotName};
use crate::template::Template;

/// Largest disk that is copied byte by byte while its guest is frozen.
const MAX_FROZEN_COPY_BYTES: u64 = 2 << 30;

/// Period without writes after which a disk counts as quiet: discards may be delayed. Longer than the resolution of
/// modification times on most file systems.
const QUIET_PERIOD: Duration = Duration::from_millis(100);
const MAX_QUIET_POLLS: usize = 30;
/// Resolution of the other file systems.
const COARSE_RESOLUTION: Duration = Duration::from_secs(1);

/// Waits until the disk of a frozen guest is quiet, so that any later write shows. Blocking.
fn wait_until_quiet(machine: &Directory) -> Result<(SystemTime, u64)> {
    let mut before = machine.disk_written()?;
    for _ in 0..MAX_QUIET_POLLS {
        let since = before
            .0
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let is_round = since.subsec_nanos() == 0;
        std::thread::sleep(if is_round {
            COARSE_RESOLUTION
        } else {
            QUIET_PERIOD
        });
        let now = machine.disk_written()?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

impl Lima {
    /// Whether the guest can be frozen for a copy of its disk.
    fn is_quick_to_copy(&self, machine: &Directory) -> bool {
        let is_small = || {
            machine
                .disk()
                .is_ok_and(|disk| copy::allocated(&disk) <= MAX_FROZEN_COPY_BYTES)
        };
        machine.is_complete_when_flushed()
            && (copy::supports_reflinks(&self.state_dir()) || is_small())
    }

    /// Creates a snapshot; a running machine is frozen or stopped for it.
    pub(crate) async fn take_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        let machine = self.existing(name)?;
        let before = self.snapshots(&self.record(name, &machine)?);
        before.finish_restore(&machine)?;
        // Completing the restore may have changed it.
        let snapshots = self.snapshots(&self.record(name, &machine)?);
        let now = Timestamp::now();
        if let Err(error) = snapshots.expire(now) {
            tracing::warn!(?error, %name, "cannot delete expired snapshots");
        }
        // Checked before the machine is stopped.
        snapshots.ensure_possible(&machine, snapshot)?;
        let runs = machine.is_alive();
        if runs && snapshot.is_initial_state() && self.is_quick_to_copy(&machine) {
            let (snapshots, machine) = (snapshots.clone(), machine.clone());
            let (wanted, progress) = (snapshot.clone(), progress.clone());
            let copied = self.while_frozen(name, move || {
                let before = wait_until_quiet(&machine)?;
                let part = snapshots.begin(&machine, &wanted, now, expires_at, &progress)?;
                // Swap is not frozen, for example.
                let is_same = machine.disk_written()? == before;
                if !is_same {
                    tracing::info!(
                        machine = machine.name(),
                        "its disk was written to while it was frozen"
                    );
                }
                Ok(is_same.then_some(part))
            });
            let part = copied.await.transpose()?.flatten();
            if let Some(part) = part {
                return blocking(move || part.finish()).await;
            }
        }
        if runs && let Err(error) = self.stop_machine(name, false).await {
            if !machine.is_alive() {
                self.start_machine(name).await?;
            }
            return Err(error);
        }
        let (wanted, step_progress) = (snapshot.clone(), progress.clone());
        let taken =
            blocking(move || snapshots.take(&machine, &wanted, now, expires_at, &step_progress));
        let taken = taken.await;
        if runs {
            progress.step("restarting the machine", None);
        }
        if runs && let Err(error) = self.start_machine(name).await {
            // The snapshot's result counts; the caller checks the status.
            tracing::warn!(?error, %name, "cannot restart the machine");
        }
        taken
    }

    /// Restores a snapshot of a stopped machine.
    pub(crate) async fn restore_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()> {
        let machine = self.existing(name)?;
        let snapshots = self.snapshots(&self.record(name, &machine)?);
        snapshots.ensure_exists(snapshot)?;
        lifecycle::ensure_stopped(&machine, name)?;
        let (wanted, progress) = (snapshot.clone(), progress.clone());
        blocking(move || {
            snapshots.finish_restore(&machine)?;
            snapshots.restore(&machine, &wanted, &progress)
        })
        .await
    }

    /// Creates an image from a snapshot.
    pub(crate) async fn publish_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        let machine = self.existing(name)?;
        let disk = self
            .snapshots(&self.record(name, &machine)?)
            .disk(snapshot)?;
        let yaml = machine.text(directory::YAML)?.unwrap_or_default();
        // The other settings are specific to this machine.
        let yaml = Template::from_machine(&yaml)?.text;
        let (images, alias, progress) = (self.image_store(), alias.clone(), progress.clone());
        let description = format!("{name}, {snapshot}");
        blocking(move || {
            let source = images::ImageSource {
                disk: &disk,
                architecture: settings::architecture(&yaml),
                yaml: &yaml,
                description,
                now: Timestamp::now(),
            };
            images.publish(&source, &alias, &progress)
        })
        .await
    }
}

#[async_trait]
impl Snapshots for Lima {
    async fn create_snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        self.ensure_installed()?;
        self.take_snapshot(name, snapshot, expires_at, progress)
            .await
    }

    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()> {
        self.restore_snapshot(name, snapshot, progress).await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let machine = self.existing(name)?;
        let snapshots = self.snapshots(&self.record(name, &machine)?);
        let wanted = snapshot.clone();
        blocking(move || {
            // An interrupted restore may still need this snapshot.
            snapshots.finish_restore(&machine)?;
            snapshots.delete(&wanted)
        })
        .await
    }

    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>> {
        self.allocated_bytes(name, snapshot).map(Some)
    }
}
