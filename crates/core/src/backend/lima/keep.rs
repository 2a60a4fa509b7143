//! Snapshots of machines that may be running: one that runs is stopped for it, and started again.
//!
//! But for the snapshot that an env begins with: nobody works in it yet, and a second boot would double what it takes to make
//! one. There the guest holds its disk still ([`still`](super::still)) where it can.

use jiff::Timestamp;

use super::{Lima, blocking};
use crate::backend::Progress;
use crate::error::Result;
use crate::model::{InstanceName, SnapshotName};

impl Lima {
    /// Keeps a running machine from running while its disk is copied.
    pub(super) async fn keep(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
    ) -> Result<()> {
        let machine = self.existing(name)?;
        let record = self.record(name, &machine)?;
        let snapshots = self.snapshots(&record);
        snapshots.finish_restore(&machine)?;
        let now = Timestamp::now();
        if let Err(error) = snapshots.expire(now) {
            tracing::warn!(?error, %name, "snapshots whose time is over stay");
        }
        // Before anything changes: a machine isn't stopped for what can't be done.
        snapshots.expect_possible(&machine, snapshot)?;
        let runs = machine.is_alive();
        if runs && snapshot.is_initial_state() && machine.has_raw_disk() {
            let (snapshots, machine) = (snapshots.clone(), machine.clone());
            let wanted = snapshot.clone();
            let copied = self.while_still(name, move || {
                snapshots.begin(&machine, &wanted, now, expires_at, &Progress::none())
            });
            if let Some(copied) = copied.await {
                return blocking(move || copied?.finish()).await;
            }
        }
        if runs && let Err(error) = self.stop_machine(name, false).await {
            if !machine.is_alive() {
                self.start_machine(name).await?;
            }
            return Err(error);
        }
        let wanted = snapshot.clone();
        let kept =
            blocking(move || snapshots.keep(&machine, &wanted, now, expires_at, &Progress::none()));
        let kept = kept.await;
        if runs && let Err(error) = self.start_machine(name).await {
            // The snapshot is there or it isn't, whatever has become of the start: the caller looks.
            tracing::warn!(?error, %name, "it doesn't start again");
        }
        kept
    }
}
