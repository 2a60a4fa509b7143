//! Creating an image from an env.

use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::backend::{Images, Instances};
use lxc_dev_manager_core::model::{EnvStatus, ImageName};
use lxc_dev_manager_core::operations::Published;
use lxc_dev_manager_core::{ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::interrupted::{MAX_POLLS, assert_running, interrupt, recover, stage};
use super::{Stage, dev_instance, env};

fn image() -> ImageName {
    "mine".parse().unwrap()
}

async fn publish(stage: &Stage) -> Result<Published> {
    let (project, cancel) = (stage.project(), CancellationToken::new());
    let operations = &stage.operations;
    operations
        .publish(&project, &env("dev"), &image(), &cancel)
        .await
}

/// The env runs, and has only its own snapshots.
async fn assert_unchanged(stage: &Stage, at: &str) {
    assert_running(stage, at).await;
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    let names: Vec<&str> = instance.snapshots.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["initial-state", "first"], "{at}");
    assert_eq!(stage.journals(), 0, "{at}");
}

async fn has_image(stage: &Stage) -> bool {
    let images = stage.fake.images().await.unwrap();
    images
        .iter()
        .any(|image| image.aliases.contains(&"mine".to_owned()))
}

#[tokio::test]
async fn publish_keeps_the_status_of_the_env() {
    let stage = stage(Pool::Btrfs).await;
    assert!(publish(&stage).await.unwrap().running);
    assert!(has_image(&stage).await);
    assert_unchanged(&stage, "running").await;
    let (project, dev) = (stage.project(), env("dev"));
    stage.operations.stop(&project, &dev).await.unwrap();
    let cancel = CancellationToken::new();
    let other: ImageName = "other".parse().unwrap();
    let made = stage
        .operations
        .publish(&project, &dev, &other, &cancel)
        .await;
    assert!(!made.unwrap().running);
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    assert_eq!(instance.status, EnvStatus::Stopped);
}

#[tokio::test]
async fn rejects_used_alias_before_the_stop() {
    let stage = stage(Pool::Btrfs).await;
    publish(&stage).await.unwrap();
    stage.fake.fail_next("stop");
    let error = publish(&stage).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_unchanged(&stage, "refused").await;
}

#[tokio::test]
async fn failed_publish_does_not_change_the_env() {
    for call in [
        "instance",
        "images",
        "stop",
        "create_snapshot",
        "start",
        "publish",
    ] {
        let stage = stage(Pool::Btrfs).await;
        stage.fake.fail_next(call);
        publish(&stage).await.unwrap_err();
        assert_unchanged(&stage, call).await;
        assert!(!has_image(&stage).await, "{call}");
        publish(&stage).await.unwrap();
    }
}

#[tokio::test]
async fn interrupted_publish_does_not_change_the_env() {
    let mut stopped = 0;
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "the publish never ended");
        let stage = stage(Pool::Btrfs).await;
        let ended = interrupt(publish(&stage), polls).await;
        let at = format!("{polls}");
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        stopped += usize::from(instance.status == EnvStatus::Stopped);
        recover(&stage, &at).await;
        assert_unchanged(&stage, &at).await;
        if ended {
            assert!(has_image(&stage).await);
            assert!(stopped > 0, "never interrupted after the stop");
            return;
        }
    }
}
