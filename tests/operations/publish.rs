//! Making an image of an env.

use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::{EnvStatus, ImageName};
use lxc_dev_manager_core::operations::Published;
use lxc_dev_manager_core::{ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::cut_off::{MANY, cut_off, expect_running, mend, stage};
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

/// The env has its own snapshots only, and runs.
async fn expect_untouched(stage: &Stage, at: &str) {
    expect_running(stage, at).await;
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
async fn a_running_env_runs_on_and_a_stopped_one_stays_stopped() {
    let stage = stage(Pool::Btrfs).await;
    assert!(publish(&stage).await.unwrap().running);
    assert!(has_image(&stage).await);
    expect_untouched(&stage, "running").await;
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
async fn a_name_that_is_taken_is_refused_before_it_is_stopped() {
    let stage = stage(Pool::Btrfs).await;
    publish(&stage).await.unwrap();
    stage.fake.fail_next("stop");
    let error = publish(&stage).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    expect_untouched(&stage, "refused").await;
}

#[tokio::test]
async fn a_fault_before_any_call_leaves_the_env_as_it_was() {
    for call in ["instance", "images", "stop", "snapshot", "start", "publish"] {
        let stage = stage(Pool::Btrfs).await;
        stage.fake.fail_next(call);
        publish(&stage).await.unwrap_err();
        expect_untouched(&stage, call).await;
        assert!(!has_image(&stage).await, "{call}");
        publish(&stage).await.unwrap();
    }
}

#[tokio::test]
async fn one_that_is_cut_off_leaves_the_env_as_it_was() {
    for polls in 1..=MANY {
        assert!(polls < MANY, "the making of an image never ended");
        let stage = stage(Pool::Btrfs).await;
        let ended = cut_off(publish(&stage), polls).await;
        let at = format!("{polls}");
        mend(&stage, &at).await;
        expect_untouched(&stage, &at).await;
        if ended {
            assert!(has_image(&stage).await);
            return;
        }
    }
}
