//! Two engines on one machine, one of which is away: what it may hold is not what isn't there.

use std::sync::Arc;

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::{Fake, Pool};
use lxc_dev_manager_core::model::EnvStatus;

use super::{Stage, dev_instance, env};

/// An env in the first engine, which then goes away. The second one is well.
async fn stage() -> (Stage, Arc<Fake>) {
    let second = Arc::new(Fake::new(Pool::Btrfs));
    let stage = Stage::beside(Pool::Btrfs, Some(second.clone()));
    stage.create("dev").await.unwrap();
    stage.fake.set_unreachable(true);
    (stage, second)
}

#[tokio::test]
async fn an_env_whose_engine_is_away_is_not_removed_from_the_file() {
    let (stage, _second) = stage().await;
    let before = stage.file();
    let error = stage
        .operations
        .remove(&mut stage.project(), &env("dev"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert_eq!(stage.file(), before);
}

#[tokio::test]
async fn an_env_whose_engine_is_away_is_not_made_again_in_another() {
    let (stage, second) = stage().await;
    assert_eq!(
        stage.create("dev").await.unwrap_err().kind(),
        ErrorKind::Unreachable
    );
    assert!(second.instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_env_whose_engine_is_away_is_shown_as_unreachable() {
    let (stage, _second) = stage().await;
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::Unreachable);
    let reachable: Vec<bool> = view
        .engines
        .iter()
        .map(|operations| operations.reachable)
        .collect();
    assert_eq!(reachable, [false, true]);
    stage.fake.set_unreachable(false);
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::Running);
}

#[tokio::test]
async fn an_engine_that_is_not_installed_holds_nothing_and_is_not_shown() {
    let second = Arc::new(Fake::new(Pool::Btrfs));
    let stage = Stage::beside(Pool::Btrfs, Some(second.clone()));
    stage.fake.set_unreachable(true);
    stage.fake.set_installed(false);
    assert!(stage.create("dev").await.is_ok());
    assert_eq!(second.instances().await.unwrap().len(), 1);
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.engines.len(), 1);
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::Running);
    // With none at all, each is named with what is wrong.
    second.set_unreachable(true);
    second.set_installed(false);
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.engines.len(), 2);
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::Unreachable);
}

#[tokio::test]
async fn an_engine_that_never_held_an_env_keeps_nobody_from_another() {
    // Installed, but dead or closed to this user.
    let second = Arc::new(Fake::new(Pool::Btrfs));
    let stage = Stage::beside(Pool::Btrfs, Some(second.clone()));
    stage.fake.set_unreachable(true);
    stage.create("dev").await.unwrap();
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::Running);
    second
        .stop(&"web-dev".parse().unwrap(), true)
        .await
        .unwrap();
    second.delete(&"web-dev".parse().unwrap()).await.unwrap();
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::NotFound);
    stage
        .operations
        .remove(&mut stage.project(), &env("dev"))
        .await
        .unwrap();
    assert!(!stage.file().contains("dev:"));
}

#[tokio::test]
async fn the_member_of_a_cluster_that_has_an_env_is_shown() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let shown = async || {
        let view = stage
            .operations
            .overview(&[stage.directory()])
            .await
            .unwrap();
        view.projects[0].envs[0].clone()
    };
    let alone = serde_json::to_value(shown().await).unwrap();
    assert!(alone.get("location").is_none(), "{alone}");
    stage.fake.move_to(&dev_instance(), "node-2").unwrap();
    assert_eq!(shown().await.location.as_deref(), Some("node-2"));
}
