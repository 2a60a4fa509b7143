//! Cloning an env.

use lxc_dev_manager_core::backend::Instances;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::backend::{ExecSpec, capture};
use lxc_dev_manager_core::model::{EnvStatus, InstanceName, SnapshotName};
use lxc_dev_manager_core::operations::{CloneRequest, Cloned};
use lxc_dev_manager_core::{ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::interrupted::{MAX_POLLS, assert_running, first, interrupt, recover, stage};
use super::{Stage, env};

fn request(snapshot: Option<SnapshotName>) -> CloneRequest {
    CloneRequest {
        source: env("dev"),
        snapshot,
        env: env("two"),
    }
}

async fn clone(stage: &Stage, snapshot: Option<SnapshotName>) -> Result<Cloned> {
    let (mut project, cancel) = (stage.project(), CancellationToken::new());
    let operations = &stage.operations;
    operations
        .clone_env(&mut project, &request(snapshot), &cancel)
        .await
}

fn two() -> InstanceName {
    "web-two".parse().unwrap()
}

async fn note(stage: &Stage) -> String {
    let spec = ExecSpec::new(["cat", "/note"]);
    let output = capture(stage.fake.as_ref(), &two(), &spec, Vec::new()).await;
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[tokio::test]
async fn clone_has_state_entry_and_own_initial_state() {
    let stage = stage(Pool::Btrfs).await;
    clone(&stage, None).await.unwrap();
    assert_eq!(note(&stage).await, "two");
    let instance = stage.fake.instance(&two()).await.unwrap();
    assert_eq!(instance.status, EnvStatus::Running);
    assert_eq!(instance.marks.env, Some(env("two")));
    assert_eq!(instance.marks.operation, None);
    let names: Vec<&str> = instance.snapshots.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["initial-state"]);
    let project = stage.project();
    let entry = project.file().entry(&env("two")).unwrap();
    assert_eq!(
        entry.snapshots.keys().collect::<Vec<_>>(),
        ["initial-state"]
    );
    assert_eq!(stage.journals(), 0);
    assert_running(&stage, "the source").await;
}

#[tokio::test]
async fn clone_of_snapshot_has_its_state() {
    let stage = stage(Pool::Btrfs).await;
    clone(&stage, Some(first())).await.unwrap();
    assert_eq!(note(&stage).await, "one");
}

#[tokio::test]
async fn rejects_used_names_and_missing_sources() {
    let stage = stage(Pool::Btrfs).await;
    let missing = clone(&stage, Some("nope".parse().unwrap())).await;
    let missing = missing.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert!(missing.hint().unwrap().contains("`first`"), "{missing:?}");
    let (mut project, cancel) = (stage.project(), CancellationToken::new());
    for (source, name, kind) in [
        ("dev", "dev", ErrorKind::AlreadyExists),
        ("dev", "DEV", ErrorKind::AlreadyExists),
        ("gone", "two", ErrorKind::NotFound),
    ] {
        let request = CloneRequest {
            source: env(source),
            snapshot: None,
            env: env(name),
        };
        let cloned = stage
            .operations
            .clone_env(&mut project, &request, &cancel)
            .await;
        assert_eq!(cloned.unwrap_err().kind(), kind, "{source} {name}");
    }
    assert_eq!(stage.instances().await, ["web-dev"]);
}

#[tokio::test]
async fn failed_clone_leaves_nothing() {
    for call in [
        "instance",
        "clone_instance",
        "write_file",
        "read_file",
        "set_marks",
        "create_snapshot",
        "start",
    ] {
        let stage = stage(Pool::Btrfs).await;
        let before = stage.file();
        stage.fake.fail_next(call);
        let error = clone(&stage, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Engine, "{call}: {error:?}");
        assert_eq!(stage.instances().await, ["web-dev"], "{call}");
        assert_eq!(stage.file(), before, "{call}");
        assert_eq!(stage.journals(), 0, "{call}");
        clone(&stage, None).await.unwrap();
    }
}

#[tokio::test]
async fn interrupted_clone_is_complete_or_gone() {
    let mut rolled_back = 0;
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "the clone never ended");
        let stage = stage(Pool::Btrfs).await;
        let before = stage.file();
        let ended = interrupt(clone(&stage, None), polls).await;
        let made = stage.fake.instance(&two()).await.is_ok();
        recover(&stage, &format!("{polls}")).await;
        if stage.fake.instance(&two()).await.is_err() {
            rolled_back += usize::from(made);
            assert_eq!(stage.file(), before, "{polls}");
            assert!(!ended, "{polls}");
        } else {
            assert!(stage.file().contains("two:"), "{polls}");
            assert_eq!(note(&stage).await, "two", "{polls}");
        }
        if ended {
            assert!(rolled_back > 0, "no copy had to be deleted");
            return;
        }
    }
}
