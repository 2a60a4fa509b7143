//! Two engines, one of them unreachable: its envs are not missing.

use lxc_dev_manager_core::backend::Instances;
use std::sync::Arc;

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::fake::{Fake, Pool};
use lxc_dev_manager_core::model::EnvStatus;

use super::{Stage, dev_instance, env};

/// An env in the first engine, which then becomes unreachable.
async fn stage() -> (Stage, Arc<Fake>) {
    let second = Arc::new(Fake::new(Pool::Btrfs));
    let stage = Stage::with_second_engine(Pool::Btrfs, Some(second.clone()));
    stage.create("dev").await.unwrap();
    stage.fake.set_unreachable(true);
    (stage, second)
}

#[tokio::test]
async fn does_not_remove_env_of_unreachable_engine_from_file() {
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
async fn does_not_create_env_of_unreachable_engine_in_another() {
    let (stage, second) = stage().await;
    assert_eq!(
        stage.create("dev").await.unwrap_err().kind(),
        ErrorKind::Unreachable
    );
    assert!(second.instances().await.unwrap().is_empty());
}

#[tokio::test]
async fn shows_env_of_unreachable_engine_as_unreachable() {
    let (stage, _second) = stage().await;
    let view = stage
        .operations
        .overview(&[stage.directory()])
        .await
        .unwrap();
    assert_eq!(view.projects[0].envs[0].status, EnvStatus::Unreachable);
    let reachable: Vec<bool> = view.engines.iter().map(|engine| engine.reachable).collect();
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
async fn ignores_engines_that_are_not_installed() {
    let second = Arc::new(Fake::new(Pool::Btrfs));
    let stage = Stage::with_second_engine(Pool::Btrfs, Some(second.clone()));
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
    // Without any installed engine, all are shown.
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
async fn ignores_unreachable_engine_that_never_had_envs() {
    // Installed, but stopped or closed to this user.
    let second = Arc::new(Fake::new(Pool::Btrfs));
    let stage = Stage::with_second_engine(Pool::Btrfs, Some(second.clone()));
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
async fn shows_cluster_member() {
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
