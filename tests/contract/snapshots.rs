//! Promises about snapshots.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{Marks, Progress};
use lxc_dev_manager_core::model::{InstanceName, OperationId, SnapshotName};

use super::guest::{read, write};
use super::{Stage, ensure_kind};

async fn stop_and_restore(
    stage: &Stage,
    name: &InstanceName,
    snapshot: &SnapshotName,
) -> Result<()> {
    stage.backend.stop(name, true).await?;
    stage
        .backend
        .restore(name, snapshot, &Progress::none())
        .await?;
    stage.backend.start(name).await?;
    Ok(())
}

pub async fn restore_brings_files_back(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    let (first, second) = (
        SnapshotName::parse("first")?,
        SnapshotName::parse("second")?,
    );
    write(stage, &name, "/root/note", b"one").await?;
    stage
        .backend
        .create_snapshot(&name, &first, None, &Progress::none())
        .await?;
    write(stage, &name, "/root/note", b"two").await?;
    stage
        .backend
        .create_snapshot(&name, &second, None, &Progress::none())
        .await?;
    write(stage, &name, "/root/note", b"three").await?;
    stop_and_restore(stage, &name, &first).await?;
    ensure!(
        read(stage, &name, "/root/note").await? == b"one",
        "not the first"
    );
    if stage
        .backend
        .capabilities()
        .await?
        .restore_keeps_later_snapshots
    {
        stop_and_restore(stage, &name, &second).await?;
        ensure!(
            read(stage, &name, "/root/note").await? == b"two",
            "not the second"
        );
    }
    Ok(())
}

pub async fn restore_of_a_running_instance_is_a_conflict(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    let snapshot = SnapshotName::parse("one")?;
    stage
        .backend
        .create_snapshot(&name, &snapshot, None, &Progress::none())
        .await?;
    ensure_kind(
        stage
            .backend
            .restore(&name, &snapshot, &Progress::none())
            .await,
        ErrorKind::Conflict,
    )
}

pub async fn restore_keeps_marks(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let snapshot = SnapshotName::parse("one")?;
    stage
        .backend
        .create_snapshot(&name, &snapshot, None, &Progress::none())
        .await?;
    let marks = Marks {
        operation: Some(OperationId::random()),
        ..stage.backend.instance(&name).await?.marks
    };
    stage.backend.set_marks(&name, &marks).await?;
    stage
        .backend
        .restore(&name, &snapshot, &Progress::none())
        .await?;
    ensure!(
        stage.backend.instance(&name).await?.marks == marks,
        "marks were restored"
    );
    Ok(())
}

pub async fn a_missing_snapshot_is_not_found(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let missing = SnapshotName::parse("missing")?;
    ensure_kind(
        stage
            .backend
            .restore(&name, &missing, &Progress::none())
            .await,
        ErrorKind::NotFound,
    )?;
    ensure_kind(
        stage.backend.delete_snapshot(&name, &missing).await,
        ErrorKind::NotFound,
    )
}

pub async fn a_snapshot_can_be_deleted(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let (one, two) = (SnapshotName::parse("one")?, SnapshotName::parse("two")?);
    stage
        .backend
        .create_snapshot(&name, &one, None, &Progress::none())
        .await?;
    stage
        .backend
        .create_snapshot(&name, &two, None, &Progress::none())
        .await?;
    let taken = stage.backend.instance(&name).await?.snapshots;
    let names: Vec<_> = taken.iter().map(|snapshot| snapshot.name.clone()).collect();
    ensure!(names == [one.clone(), two.clone()], "{names:?}");
    stage.backend.delete_snapshot(&name, &one).await?;
    let left = stage.backend.instance(&name).await?.snapshots;
    ensure!(left.len() == 1 && left[0].name == two, "{left:?}");
    Ok(())
}

pub async fn size_of_snapshots_is_known_or_unreported(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let one = SnapshotName::parse("one")?;
    stage
        .backend
        .create_snapshot(&name, &one, None, &Progress::none())
        .await?;
    let space = stage.backend.pool_space().await?;
    let space = space.context("the pool reports no usage")?;
    ensure!(space.used <= space.total && space.total > 0, "{space:?}");
    let of_one = stage.backend.held_bytes(&name, Some(&one)).await?;
    let of_all = stage.backend.held_bytes(&name, None).await?;
    ensure!(of_one <= of_all, "{of_one:?} of {of_all:?}");
    ensure!(
        of_all.is_none_or(|bytes| bytes <= space.total),
        "{of_all:?}"
    );
    let missing = SnapshotName::parse("missing")?;
    ensure_kind(
        stage.backend.held_bytes(&name, Some(&missing)).await,
        ErrorKind::NotFound,
    )?;
    ensure_kind(
        stage.backend.held_bytes(&stage.name("none"), None).await,
        ErrorKind::NotFound,
    )
}
