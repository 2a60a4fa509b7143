//! Restore, removal and their undo.

use lxc_dev_manager_core::backend::Instances;
use lxc_dev_manager_core::backend::Settings;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::{EnvStatus, SnapshotName};
use lxc_dev_manager_core::operations::MayStop;
use lxc_dev_manager_core::{ErrorKind, Result};

use super::{Stage, dev_instance, env};

async fn stage_with_note(pool: Pool) -> Stage {
    let stage = Stage::new(pool);
    stage.create("dev").await.unwrap();
    stage.write("one").await;
    take(&stage, "first").await.unwrap();
    stage.write("two").await;
    stage
}

async fn take(stage: &Stage, name: &str) -> Result<()> {
    let name = SnapshotName::parse(name)?;
    stage
        .operations
        .snapshot(
            &mut stage.project(),
            &env("dev"),
            &name,
            Some("x".into()),
            MayStop::Yes,
        )
        .await
}

async fn restore(stage: &Stage, name: &str) -> Result<bool> {
    let name = SnapshotName::parse(name)?;
    let restored = stage
        .operations
        .restore(&stage.project(), &env("dev"), &name)
        .await?;
    Ok(restored.undoable)
}

#[tokio::test]
async fn restore_can_be_undone_and_redone() {
    let stage = stage_with_note(Pool::Btrfs).await;
    assert!(restore(&stage, "first").await.unwrap());
    assert_eq!(stage.read().await, "one");
    stage
        .operations
        .undo(&mut stage.project(), None)
        .await
        .unwrap();
    assert_eq!(stage.read().await, "two");
    stage
        .operations
        .undo(&mut stage.project(), Some(&env("dev")))
        .await
        .unwrap();
    assert_eq!(stage.read().await, "one");
}

#[tokio::test]
async fn restore_keeps_stopped_env_stopped() {
    let stage = stage_with_note(Pool::Btrfs).await;
    stage
        .operations
        .stop(&stage.project(), &env("dev"))
        .await
        .unwrap();
    restore(&stage, "first").await.unwrap();
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    assert_eq!(instance.status, EnvStatus::Stopped);
}

#[tokio::test]
async fn undo_copies_are_hidden_and_not_in_the_file() {
    let stage = stage_with_note(Pool::Btrfs).await;
    restore(&stage, "first").await.unwrap();
    let held = stage.fake.instance(&dev_instance()).await.unwrap();
    assert_eq!(
        held.snapshots
            .iter()
            .filter(|kept| kept.name.is_undo())
            .count(),
        1
    );
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    let shown = &view.projects[0].envs[0];
    let names: Vec<&str> = shown.snapshots.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["initial-state", "first"]);
    assert!(shown.undo.is_some());
    assert!(!stage.file().contains("ldm-undo"), "{}", stage.file());
}

#[tokio::test]
async fn keeps_no_undo_copy_on_dir_and_zfs() {
    for pool in [Pool::Dir, Pool::Zfs] {
        let stage = stage_with_note(pool).await;
        assert!(!restore(&stage, "first").await.unwrap());
        assert_eq!(stage.read().await, "one");
        let error = stage
            .operations
            .undo(&mut stage.project(), None)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn failed_restore_restarts_env_and_leaves_no_journal() {
    let stage = stage_with_note(Pool::Btrfs).await;
    stage.fake.fail_next("restore");
    assert_eq!(
        restore(&stage, "first").await.unwrap_err().kind(),
        ErrorKind::Engine
    );
    assert_eq!(stage.read().await, "two");
    assert_eq!(stage.journals(), 0);
}

#[tokio::test]
async fn missing_snapshot_lists_existing_ones() {
    let stage = stage_with_note(Pool::Btrfs).await;
    let error = restore(&stage, "nope").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.hint(),
        Some("snapshots of `dev`: `initial-state`, `first`")
    );
}

#[tokio::test]
async fn rejects_used_and_reserved_snapshots() {
    let stage = stage_with_note(Pool::Btrfs).await;
    assert_eq!(
        take(&stage, "first").await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_eq!(
        take(&stage, "ldm-undo-1").await.unwrap_err().kind(),
        ErrorKind::InvalidName
    );
    let initial = SnapshotName::initial_state();
    let mut project = stage.project();
    let refused = stage
        .operations
        .delete_snapshot(&mut project, &env("dev"), &initial)
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Conflict);
    let first = SnapshotName::parse("first").unwrap();
    stage
        .operations
        .delete_snapshot(&mut project, &env("dev"), &first)
        .await
        .unwrap();
    assert!(!stage.file().contains("first"), "{}", stage.file());
}

#[tokio::test]
async fn undo_restores_removed_env_and_entry() {
    let stage = stage_with_note(Pool::Btrfs).await;
    let before = stage.file();
    let mut project = stage.project();
    assert!(
        stage
            .operations
            .remove(&mut project, &env("dev"))
            .await
            .unwrap()
    );
    assert!(!stage.file().contains("dev:"), "{}", stage.file());
    assert!(stage.fake.instance(&dev_instance()).await.is_err());
    stage
        .operations
        .undo(&mut project, Some(&env("dev")))
        .await
        .unwrap();
    assert_eq!(stage.file(), before);
    assert_eq!(stage.read().await, "two");
}

#[tokio::test]
async fn undo_of_removal_keeps_later_changes_of_the_file() {
    let stage = stage_with_note(Pool::Btrfs).await;
    let path = stage.directory().join("containers.yaml");
    let with_limits = stage.file().replace(
        "    snapshots:",
        "    memory: 4GiB # enough\n    user: {name: admin, password: \"0123\"}\n    snapshots:",
    );
    std::fs::write(&path, &with_limits).unwrap();
    let mut project = stage.project();
    stage
        .operations
        .remove(&mut project, &env("dev"))
        .await
        .unwrap();
    let changed = format!("# a new line\n{}", stage.file());
    std::fs::write(&path, changed).unwrap();
    stage.operations.undo(&mut project, None).await.unwrap();
    let file = stage.project().file().clone();
    let entry = file.entry(&env("dev")).unwrap();
    assert_eq!(entry.memory.as_deref(), Some("4GiB"));
    assert_eq!(entry.user.password.as_deref(), Some("0123"));
    assert_eq!(entry.snapshots["first"].description.as_deref(), Some("x"));
    assert!(
        stage.file().starts_with("# a new line\n"),
        "{}",
        stage.file()
    );
}

#[tokio::test]
async fn new_env_has_no_undo_copies_of_old_one() {
    let stage = stage_with_note(Pool::Btrfs).await;
    restore(&stage, "first").await.unwrap();
    stage.fake.stop(&dev_instance(), true).await.unwrap();
    stage.fake.delete(&dev_instance()).await.unwrap();
    // Deleted in the engine, and created again.
    stage.create("dev").await.unwrap();
    let error = stage
        .operations
        .undo(&mut stage.project(), None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("nothing to undo"), "{error}");
}

#[tokio::test]
async fn undo_of_removal_does_not_overwrite_new_env() {
    let stage = stage_with_note(Pool::Btrfs).await;
    let mut project = stage.project();
    stage
        .operations
        .remove(&mut project, &env("dev"))
        .await
        .unwrap();
    stage.create("dev").await.unwrap();
    let mut project = stage.project();
    let error = stage
        .operations
        .undo(&mut project, Some(&env("dev")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn autostart_is_off_in_undo_copy_and_restored() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let settings = Settings {
        autostart: true,
        ..stage.fake.instance(&dev_instance()).await.unwrap().settings
    };
    stage
        .fake
        .configure(&dev_instance(), &settings)
        .await
        .unwrap();
    let (operations, dev) = (&stage.operations, env("dev"));
    assert!(operations.remove(&mut stage.project(), &dev).await.unwrap());
    let copy = stage.fake.instances().await.unwrap().remove(0);
    assert!(!copy.settings.autostart);
    // The user starts it.
    stage.fake.start(&copy.name).await.unwrap();
    operations.undo(&mut stage.project(), None).await.unwrap();
    let restored = stage.fake.instance(&dev_instance()).await.unwrap();
    assert!(restored.settings.autostart);
}

#[tokio::test]
async fn rejects_restore_that_would_delete_later_snapshots() {
    let stage = Stage::new(Pool::Zfs);
    stage.create("dev").await.unwrap();
    let (operations, dev) = (&stage.operations, env("dev"));
    let (initial, later) = (SnapshotName::initial_state(), "later".parse().unwrap());
    let taken = operations
        .snapshot(&mut stage.project(), &dev, &later, None, MayStop::Yes)
        .await;
    taken.unwrap();
    stage.fake.fail_next("stop");
    let error = operations
        .restore(&stage.project(), &dev, &initial)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.report().message.contains("`later`"), "{error:?}");
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    assert_eq!(instance.snapshots.len(), 2);
    assert_eq!(instance.status, EnvStatus::Running);
    assert_eq!(stage.journals(), 0);
}
