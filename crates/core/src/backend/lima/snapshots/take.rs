//! Snapshots of machines that may be running: one that runs is stopped for it, and started again.
//!
//! But for the snapshot that an env begins with: nobody works in it yet, and a second boot would double what it takes to make
//! one. There the guest holds its disk still ([`still`](super::still)) where it can.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::backend::Progress;
use crate::backend::lima::Lima;
use crate::backend::lima::blocking;
use crate::backend::lima::copy;
use crate::backend::lima::images;
use crate::backend::lima::lifecycle;
use crate::backend::lima::machine::directory::{self, Directory};
use crate::backend::lima::machine::settings;
use crate::error::Result;
use crate::model::{Fingerprint, ImageName, InstanceName, SnapshotName};
use crate::template::Template;

/// The most that a disk may hold that is copied byte by byte while its guest waits.
const SOON: u64 = 2 << 30;

/// How long nothing may be written to a disk until it counts as still, and how long that is waited for: blocks that were let
/// go are told to the disk somewhat later (discard). It is longer than the unit in which most systems tell when a file was
/// written.
const QUIET: Duration = Duration::from_millis(100);
const MAX_SILENT_POLLS: usize = 30;
/// The unit of the others.
const WHOLE_SECOND: Duration = Duration::from_secs(1);

/// When the disk of a guest that holds still was written last, so that any later write shows. Blocking.
fn settled(machine: &Directory) -> Result<(SystemTime, u64)> {
    let mut before = machine.disk_written()?;
    for _ in 0..MAX_SILENT_POLLS {
        let since = before
            .0
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let is_whole = since.subsec_nanos() == 0;
        std::thread::sleep(if is_whole { WHOLE_SECOND } else { QUIET });
        let now = machine.disk_written()?;
        if now == before {
            break;
        }
        before = now;
    }
    Ok(before)
}

impl Lima {
    /// Whether a guest can be kept waiting for a copy of its disk.
    fn is_copied_soon(&self, machine: &Directory) -> bool {
        let is_small = || machine.disk().is_ok_and(|disk| copy::held(&disk) <= SOON);
        machine.is_complete_when_flushed() && (copy::shares(&self.ours()) || is_small())
    }

    /// Keeps a running machine from running while its disk is copied.
    pub(crate) async fn keep(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        let machine = self.existing(name)?;
        let before = self.snapshots(&self.record(name, &machine)?);
        before.finish_restore(&machine)?;
        // What was finished may have changed it.
        let snapshots = self.snapshots(&self.record(name, &machine)?);
        let now = Timestamp::now();
        if let Err(error) = snapshots.expire(now) {
            tracing::warn!(?error, %name, "snapshots whose time is over stay");
        }
        // Before anything changes: a machine isn't stopped for what can't be done.
        snapshots.expect_possible(&machine, snapshot)?;
        let runs = machine.is_alive();
        if runs && snapshot.is_initial_state() && self.is_copied_soon(&machine) {
            let (snapshots, machine) = (snapshots.clone(), machine.clone());
            let (wanted, progress) = (snapshot.clone(), progress.clone());
            let copied = self.while_still(name, move || {
                let before = settled(&machine)?;
                let part = snapshots.begin(&machine, &wanted, now, expires_at, &progress)?;
                // What isn't a file system's own may have written: a swap.
                let is_same = machine.disk_written()? == before;
                if !is_same {
                    tracing::info!(
                        machine = machine.name(),
                        "its disk was written to while it was still"
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
        let (wanted, told) = (snapshot.clone(), progress.clone());
        let kept = blocking(move || snapshots.keep(&machine, &wanted, now, expires_at, &told));
        let kept = kept.await;
        if runs {
            progress.step("starting it again", None);
        }
        if runs && let Err(error) = self.start_machine(name).await {
            // The snapshot is there or it isn't, whatever has become of the start: the caller looks.
            tracing::warn!(?error, %name, "it doesn't start again");
        }
        kept
    }

    /// Sets a stopped machine back to a snapshot.
    pub(crate) async fn set_back(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()> {
        let machine = self.existing(name)?;
        let snapshots = self.snapshots(&self.record(name, &machine)?);
        snapshots.expect(snapshot)?;
        lifecycle::expect_stopped(&machine, name)?;
        let (wanted, progress) = (snapshot.clone(), progress.clone());
        blocking(move || {
            snapshots.finish_restore(&machine)?;
            snapshots.put_back(&machine, &wanted, &progress)
        })
        .await
    }

    /// Makes an image of a machine's snapshot.
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
        // What else is said there is this machine's: places on this disk, scripts and what they know.
        let yaml = Template::of_machine(&yaml)?.text;
        let (images, alias, progress) = (self.images_of_ours(), alias.clone(), progress.clone());
        let description = format!("{name}, {snapshot}");
        blocking(move || {
            let source = images::Source {
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
