//! Renaming and restarting an env.

use lxc_dev_manager_core::backend::Instances;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::EnvStatus;
use lxc_dev_manager_core::{ErrorKind, Result};

use super::interrupted::{MAX_POLLS, assert_running, first, interrupt, recover, stage};
use super::{Stage, dev_instance, env};

async fn rename(stage: &Stage) -> Result<()> {
    let mut project = stage.project();
    let (old, new) = (env("dev"), env("main"));
    let renamed = stage.operations.rename(&mut project, &old, &new).await;
    renamed.map(drop)
}

/// Whether the env is renamed completely; fails if it is partially or does not run.
async fn is_renamed(stage: &Stage, at: &str) -> bool {
    let old = stage.fake.instance(&dev_instance()).await.is_ok();
    let new = stage.fake.instance(&"web-main".parse().unwrap()).await;
    assert_ne!(old, new.is_ok(), "{at}");
    assert_eq!(old, stage.file().contains("dev:"), "{at}: {}", stage.file());
    assert_ne!(
        old,
        stage.file().contains("main:"),
        "{at}: {}",
        stage.file()
    );
    match new {
        Ok(new) => {
            assert_eq!(new.status, EnvStatus::Running, "{at}");
            assert_eq!(new.marks.env, Some(env("main")), "{at}");
            assert_eq!(new.snapshots.len(), 2, "{at}");
        }
        Err(_) => assert_running(stage, at).await,
    }
    !old
}

#[tokio::test]
async fn renames_in_engine_file_and_ledger() {
    let stage = stage(Pool::Btrfs).await;
    let operations = &stage.operations;
    let (project, dev) = (stage.project(), env("dev"));
    operations.restore(&project, &dev, &first()).await.unwrap();
    rename(&stage).await.unwrap();
    let instance = stage.fake.instance(&"web-main".parse().unwrap()).await;
    assert_eq!(instance.unwrap().marks.env, Some(env("main")));
    assert!(stage.file().contains("main:") && stage.file().contains("first:"));
    assert_eq!(stage.journals(), 0);
    let undone = operations
        .undo(&mut stage.project(), Some(&env("main")))
        .await;
    assert_eq!(undone.unwrap(), env("main"));
}

#[tokio::test]
async fn rejects_used_names() {
    let stage = stage(Pool::Btrfs).await;
    stage.create("main").await.unwrap();
    assert_eq!(
        rename(&stage).await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert_running(&stage, "refused").await;
}

#[tokio::test]
async fn rename_keeps_stopped_env_stopped() {
    let stage = stage(Pool::Btrfs).await;
    let (project, dev) = (stage.project(), env("dev"));
    stage.operations.stop(&project, &dev).await.unwrap();
    rename(&stage).await.unwrap();
    let instance = stage.fake.instance(&"web-main".parse().unwrap()).await;
    assert_eq!(instance.unwrap().status, EnvStatus::Stopped);
}

#[tokio::test]
async fn failed_rename_is_rolled_back() {
    for call in ["instance", "stop", "rename", "set_marks", "write_file"] {
        let stage = stage(Pool::Btrfs).await;
        let before = stage.file();
        stage.fake.fail_next(call);
        rename(&stage).await.unwrap_err();
        assert!(!is_renamed(&stage, call).await, "{call}");
        assert_eq!(stage.file(), before, "{call}");
        assert_eq!(stage.journals(), 0, "{call}");
        rename(&stage).await.unwrap();
        assert!(is_renamed(&stage, call).await, "{call}");
    }
}

#[tokio::test]
async fn interrupted_rename_is_completed_or_not_begun() {
    let (mut completed, mut rolled_back) = (0, 0);
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a rename never ended");
        let stage = stage(Pool::Btrfs).await;
        let ended = interrupt(rename(&stage), polls).await;
        let at = format!("{polls}");
        let interrupted = recover(&stage, &at).await;
        let renamed = is_renamed(&stage, &at).await;
        completed += usize::from(interrupted && renamed);
        rolled_back += usize::from(interrupted && !renamed);
        if ended {
            assert!(renamed);
            assert!(
                completed > 0 && rolled_back > 0,
                "{completed} completed, {rolled_back} rolled back"
            );
            return;
        }
    }
}

#[tokio::test]
async fn interrupted_restart_leaves_env_running() {
    let mut stopped = 0;
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a restart never ended");
        let stage = stage(Pool::Btrfs).await;
        let (project, dev) = (stage.project(), env("dev"));
        let ended = interrupt(stage.operations.restart(&project, &dev), polls).await;
        let at = format!("{polls}");
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        stopped += usize::from(instance.status == EnvStatus::Stopped);
        recover(&stage, &at).await;
        assert_running(&stage, &at).await;
        if ended {
            assert!(stopped > 0, "never interrupted after the stop");
            return;
        }
    }
}
