//! Promises about copies and settings.

use anyhow::{Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{CloneSpec, Marks, Nesting, Progress, Settings};
use lxc_dev_manager_core::model::{ByteSize, EnvStatus, InstanceName, Limits, SnapshotName};
use tokio_util::sync::CancellationToken;

use super::files::{read, write};
use super::{Stage, ensure_kind};

async fn copy(
    stage: &Stage,
    source: &InstanceName,
    snapshot: Option<&SnapshotName>,
    to: &str,
) -> lxc_dev_manager_core::Result<InstanceName> {
    let spec = CloneSpec {
        source: source.clone(),
        snapshot: snapshot.cloned(),
        name: stage.name(to),
        marks: Marks {
            env: to.parse().ok(),
            ..Marks::default()
        },
    };
    let cancel = CancellationToken::new();
    stage
        .backend
        .clone_instance(&spec, &Progress::none(), &cancel)
        .await?;
    Ok(spec.name)
}

pub async fn a_copy_has_the_files_and_no_snapshots(stage: &Stage) -> Result<()> {
    let source = stage.create("source").await?;
    let first = SnapshotName::parse("first")?;
    write(stage, &source, "/root/file", "old").await?;
    stage
        .backend
        .create_snapshot(&source, &first, None, &Progress::none())
        .await?;
    write(stage, &source, "/root/file", "new").await?;
    let of_snapshot = copy(stage, &source, Some(&first), "a").await?;
    ensure!(read(stage, &of_snapshot, "/root/file").await? == "old");
    let of_now = copy(stage, &source, None, "b").await?;
    ensure!(read(stage, &of_now, "/root/file").await? == "new");
    for name in [&of_snapshot, &of_now] {
        let copied = stage.backend.instance(name).await?;
        ensure!(copied.status == EnvStatus::Stopped, "{copied:?}");
        ensure!(copied.snapshots.is_empty(), "{copied:?}");
    }
    Ok(())
}

pub async fn running_instance_is_copied_if_supported(stage: &Stage) -> Result<()> {
    let source = stage.running("source").await?;
    let copied = copy(stage, &source, None, "copy").await;
    if !stage.backend.capabilities().await?.copies_running {
        return ensure_kind(copied, ErrorKind::Conflict);
    }
    let copied = stage.backend.instance(&copied?).await?;
    ensure!(copied.status == EnvStatus::Stopped, "{copied:?}");
    let source = stage.backend.instance(&source).await?;
    ensure!(source.status == EnvStatus::Running, "{source:?}");
    Ok(())
}

pub async fn copy_has_requested_marks_and_its_image(stage: &Stage) -> Result<()> {
    let source = stage.create("source").await?;
    let name = copy(stage, &source, None, "copy").await?;
    let (source, copied) = (
        stage.backend.instance(&source).await?,
        stage.backend.instance(&name).await?,
    );
    ensure!(copied.marks.env == "copy".parse().ok(), "{copied:?}");
    ensure!(copied.marks.operation.is_none(), "{copied:?}");
    ensure!(copied.base_image.is_some(), "{copied:?}");
    ensure!(copied.base_image == source.base_image, "{copied:?}");
    Ok(())
}

pub async fn a_copy_needs_a_source_and_a_free_name(stage: &Stage) -> Result<()> {
    let source = stage.create("source").await?;
    let missing = copy(stage, &stage.name("missing"), None, "copy").await;
    ensure_kind(missing, ErrorKind::NotFound)?;
    let taken = copy(stage, &source, None, "source").await;
    ensure!(taken.is_err(), "the copy replaced an existing instance");
    let no_snapshot = copy(stage, &source, Some(&"none".parse()?), "copy").await;
    ensure_kind(no_snapshot, ErrorKind::NotFound)?;
    let left = stage.backend.instance(&stage.name("copy")).await;
    ensure_kind(left, ErrorKind::NotFound)
}

pub async fn settings_are_set_and_removed(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let can = stage.backend.capabilities().await?;
    let shrinks = can.disks_shrink;
    let narrow = Settings {
        limits: Limits {
            cpus: Some(1),
            memory: Some(ByteSize(512 << 20)),
            // Where disks cannot shrink: larger than the initial disk.
            disk: Some(ByteSize(if shrinks { 2 << 30 } else { 60 << 30 })),
        },
        nesting: Nesting::Off,
        autostart: can.autostart,
        mounts: Vec::new(),
        ..Settings::default()
    };
    stage.backend.configure(&name, &narrow).await?;
    let seen = stage.backend.instance(&name).await?.settings;
    ensure!(seen == narrow, "{seen:?}");
    if !can.autostart {
        let by_itself = Settings {
            autostart: true,
            ..Settings::default()
        };
        ensure_kind(
            stage.backend.configure(&name, &by_itself).await,
            ErrorKind::Unsupported,
        )?;
        let seen = stage.backend.instance(&name).await?.settings;
        ensure!(seen == narrow, "a refused change was applied: {seen:?}");
    }
    if !shrinks {
        let mut smaller = narrow.clone();
        smaller.limits.disk = Some(ByteSize(2 << 30));
        ensure_kind(
            stage.backend.configure(&name, &smaller).await,
            ErrorKind::Unsupported,
        )?;
        let seen = stage.backend.instance(&name).await?.settings;
        ensure!(seen == narrow, "a refused change was applied: {seen:?}");
    }
    // Also while running.
    stage.backend.start(&name).await?;
    stage.backend.configure(&name, &Settings::default()).await?;
    let seen = stage.backend.instance(&name).await?;
    ensure!(seen.settings == Settings::default(), "{seen:?}");
    ensure!(seen.marks == stage.spec("dev").await?.marks, "{seen:?}");
    Ok(())
}

pub async fn usage_is_reported_while_running(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    let usage = stage.backend.usage(&name).await?;
    ensure!(usage.processes.is_some_and(|count| count > 0), "{usage:?}");
    let missing = stage.backend.usage(&stage.name("missing")).await;
    ensure_kind(missing, ErrorKind::NotFound)
}
