//! Deleting a whole project, bringing it back, and what `gc` leaves of it.

use std::path::PathBuf;

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::Pool;

use super::cut_off::{MANY, cut_off, expect_running, stage};
use super::{Stage, dev_instance, env};

async fn two_envs() -> Stage {
    let stage = stage(Pool::Btrfs).await;
    stage.create("two").await.unwrap();
    stage
}

/// The same once its project is deleted; its directory as undo knows it, and the file as it was.
async fn deleted() -> (Stage, PathBuf, String) {
    let stage = two_envs().await;
    let before = stage.file();
    stage
        .operations
        .delete_project(stage.project())
        .await
        .unwrap();
    let directory = stage.directory().canonicalize().unwrap();
    (stage, directory, before)
}

fn is_there(stage: &Stage) -> bool {
    stage.directory().join("containers.yaml").exists()
}

#[tokio::test]
async fn a_deleted_project_comes_back_as_it_was() {
    let stage = two_envs().await;
    let before = stage.file();
    let deleted = stage
        .operations
        .delete_project(stage.project())
        .await
        .unwrap();
    assert_eq!(deleted.removed, [env("dev"), env("two")]);
    assert!(deleted.undoable && !is_there(&stage));
    let kept = stage.instances().await;
    assert!(
        kept.iter().all(|name| name.starts_with("ldm-undo-")),
        "{kept:?}"
    );
    let directory = stage.directory().canonicalize().unwrap();
    let back = stage.operations.undo_deletion(&directory).await.unwrap();
    assert_eq!(back.unwrap().file().env_names().len(), 2);
    assert_eq!(stage.file(), before);
    assert_eq!(stage.instances().await, ["web-dev", "web-two"]);
    expect_running(&stage, "back").await;
    assert!(
        stage
            .operations
            .undo_deletion(&directory)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn what_another_directory_made_is_left_alone() {
    let stage = two_envs().await;
    let other = stage.root.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let mut marks = stage.fake.instance(&dev_instance()).await.unwrap().marks;
    marks.path = Some(other);
    stage.fake.set_marks(&dev_instance(), &marks).await.unwrap();
    let deleted = stage
        .operations
        .delete_project(stage.project())
        .await
        .unwrap();
    assert_eq!(
        (deleted.removed, deleted.left),
        (vec![env("two")], vec![env("dev")])
    );
    expect_running(&stage, "another's").await;
    assert!(!is_there(&stage));
}

#[tokio::test]
async fn another_project_in_the_directory_is_not_overwritten() {
    let (stage, directory, _) = deleted().await;
    let path = directory.join("containers.yaml");
    std::fs::write(&path, "project: new\n").unwrap();
    let error = stage
        .operations
        .undo_deletion(&directory)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(stage.file(), "project: new\n");
}

#[tokio::test]
async fn each_env_is_whole_or_gone_wherever_it_is_cut_off_and_undo_brings_all_back() {
    for polls in (1..=MANY).step_by(3) {
        assert!(polls + 3 < MANY, "a deletion never ended");
        let stage = two_envs().await;
        let before = stage.file();
        let ended = cut_off(stage.operations.delete_project(stage.project()), polls).await;
        let next = stage.other_process();
        next.recover().await.unwrap();
        assert_eq!(stage.journals(), 0, "{polls}");
        if is_there(&stage) {
            for name in ["dev", "two"] {
                let instance = stage.instances().await.contains(&format!("web-{name}"));
                let entry = stage.file().contains(&format!("{name}:"));
                assert_eq!(instance, entry, "{polls}: {name}");
            }
            while next.undo(&mut stage.project(), None).await.is_ok() {}
        } else {
            let directory = stage.directory().canonicalize().unwrap();
            next.undo_deletion(&directory).await.unwrap().unwrap();
        }
        assert_eq!(stage.instances().await, ["web-dev", "web-two"], "{polls}");
        assert_eq!(stage.file(), before, "{polls}");
        if ended {
            return;
        }
    }
}

#[tokio::test]
async fn gc_deletes_only_what_it_is_told() {
    let (stage, directory, _) = deleted().await;
    let collected = stage.operations.collect(false).await.unwrap();
    assert_eq!((collected.deleted, collected.left), (0, 2));
    assert_eq!(stage.instances().await.len(), 2);
    let collected = stage.operations.collect(true).await.unwrap();
    assert_eq!((collected.deleted, collected.left), (2, 0));
    assert!(stage.instances().await.is_empty());
    assert!(
        stage
            .operations
            .undo_deletion(&directory)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_project_that_came_back_in_part_comes_back_whole() {
    let (stage, directory, before) = deleted().await;
    stage.fake.fail_next("rename");
    stage
        .operations
        .undo_deletion(&directory)
        .await
        .unwrap_err();
    assert!(stage.operations.is_back_in_part(&directory).unwrap());
    stage
        .operations
        .undo_deletion(&directory)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stage.file(), before);
    assert_eq!(stage.instances().await, ["web-dev", "web-two"]);
    assert!(!stage.operations.is_back_in_part(&directory).unwrap());
}
