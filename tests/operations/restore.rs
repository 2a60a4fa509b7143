//! Going back, and going back from that.

use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::backend::{Backend, Settings};
use lxc_dev_manager_core::model::{EnvStatus, SnapshotName};
use lxc_dev_manager_core::operations::MayStop;
use lxc_dev_manager_core::{ErrorKind, Result};

use super::{Stage, dev_instance, env};

async fn with_note(pool: Pool) -> Stage {
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

async fn go_back(stage: &Stage, name: &str) -> Result<bool> {
    let name = SnapshotName::parse(name)?;
    let restored = stage
        .operations
        .restore(&stage.project(), &env("dev"), &name)
        .await?;
    Ok(restored.undoable)
}

#[tokio::test]
async fn restore_can_be_undone_and_redone() {
    let stage = with_note(Pool::Btrfs).await;
    assert!(go_back(&stage, "first").await.unwrap());
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
    let stage = with_note(Pool::Btrfs).await;
    stage
        .operations
        .stop(&stage.project(), &env("dev"))
        .await
        .unwrap();
    go_back(&stage, "first").await.unwrap();
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    assert_eq!(instance.status, EnvStatus::Stopped);
}

#[tokio::test]
async fn undo_copies_are_hidden_and_not_in_the_file() {
    let stage = with_note(Pool::Btrfs).await;
    go_back(&stage, "first").await.unwrap();
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
async fn a_pool_that_copies_everything_keeps_no_undo() {
    for pool in [Pool::Dir, Pool::Zfs] {
        let stage = with_note(pool).await;
        assert!(!go_back(&stage, "first").await.unwrap());
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
async fn a_failed_restore_runs_again_and_leaves_no_journal() {
    let stage = with_note(Pool::Btrfs).await;
    stage.fake.fail_next("restore");
    assert_eq!(
        go_back(&stage, "first").await.unwrap_err().kind(),
        ErrorKind::Engine
    );
    assert_eq!(stage.read().await, "two");
    assert_eq!(stage.journals(), 0);
}

#[tokio::test]
async fn a_missing_snapshot_names_those_that_are_there() {
    let stage = with_note(Pool::Btrfs).await;
    let error = go_back(&stage, "nope").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint(), Some("it has `initial-state`, `first`"));
}

#[tokio::test]
async fn a_snapshot_is_taken_once_and_initial_state_stays() {
    let stage = with_note(Pool::Btrfs).await;
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
async fn a_removed_env_comes_back_with_its_entry() {
    let stage = with_note(Pool::Btrfs).await;
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
    // It ran before, so it runs again.
    assert_eq!(stage.read().await, "two");
}

#[tokio::test]
async fn a_removed_env_comes_back_into_a_file_that_was_changed_meanwhile() {
    let stage = with_note(Pool::Btrfs).await;
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
async fn a_new_env_has_none_of_the_copies_of_an_old_one() {
    let stage = with_note(Pool::Btrfs).await;
    go_back(&stage, "first").await.unwrap();
    stage.fake.stop(&dev_instance(), true).await.unwrap();
    stage.fake.delete(&dev_instance()).await.unwrap();
    // Deleted behind our back, and made again.
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
async fn a_name_given_away_meanwhile_is_not_overwritten() {
    let stage = with_note(Pool::Btrfs).await;
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
async fn a_removed_env_is_not_started_with_the_engine_and_one_that_is_back_is() {
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
    let aside = stage.fake.instances().await.unwrap().remove(0);
    assert!(!aside.settings.autostart);
    // Somebody starts it all the same.
    stage.fake.start(&aside.name).await.unwrap();
    operations.undo(&mut stage.project(), None).await.unwrap();
    let back = stage.fake.instance(&dev_instance()).await.unwrap();
    assert!(back.settings.autostart);
}

#[tokio::test]
async fn where_later_snapshots_would_go_a_restore_names_them_and_changes_nothing() {
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
