//! Deleting a project, its undo, and `gc`.

use lxc_dev_manager_core::backend::Instances;
use std::path::PathBuf;

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::fake::Pool;

use super::interrupted::{MAX_POLLS, assert_running, interrupt, stage};
use super::{Stage, dev_instance, env};

async fn two_envs() -> Stage {
    let stage = stage(Pool::Btrfs).await;
    stage.create("two").await.unwrap();
    stage
}

/// A deleted project, with its directory and the text of its file.
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

fn has_file(stage: &Stage) -> bool {
    stage.directory().join("containers.yaml").exists()
}

#[tokio::test]
async fn undo_restores_deleted_project() {
    let stage = two_envs().await;
    let before = stage.file();
    let deleted = stage
        .operations
        .delete_project(stage.project())
        .await
        .unwrap();
    assert_eq!(deleted.removed, [env("dev"), env("two")]);
    assert!(deleted.undoable && !has_file(&stage));
    let instances = stage.instances().await;
    assert!(
        instances.iter().all(|name| name.starts_with("ldm-undo-")),
        "{instances:?}"
    );
    let directory = stage.directory().canonicalize().unwrap();
    let restored = stage.operations.undo_deletion(&directory).await.unwrap();
    assert_eq!(restored.unwrap().file().env_names().len(), 2);
    assert_eq!(stage.file(), before);
    assert_eq!(stage.instances().await, ["web-dev", "web-two"]);
    assert_running(&stage, "restored").await;
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
async fn keeps_instances_of_other_checkouts() {
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
    assert_running(&stage, "other checkout").await;
    assert!(!has_file(&stage));
}

#[tokio::test]
async fn undo_does_not_overwrite_new_project() {
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
async fn interrupted_deletion_can_be_undone() {
    let (mut recovered, mut partial) = (0, 0);
    for polls in (1..=MAX_POLLS).step_by(3) {
        assert!(polls + 3 < MAX_POLLS, "a deletion never ended");
        let stage = two_envs().await;
        let before = stage.file();
        let ended = interrupt(stage.operations.delete_project(stage.project()), polls).await;
        recovered += stage.journals();
        let next = stage.other_process();
        next.recover().await.unwrap();
        assert_eq!(stage.journals(), 0, "{polls}");
        if has_file(&stage) {
            for name in ["dev", "two"] {
                let instance = stage.instances().await.contains(&format!("web-{name}"));
                let entry = stage.file().contains(&format!("{name}:"));
                assert_eq!(instance, entry, "{polls}: {name}");
                partial += usize::from(!instance);
            }
            while next.undo(&mut stage.project(), None).await.is_ok() {}
        } else {
            let directory = stage.directory().canonicalize().unwrap();
            next.undo_deletion(&directory).await.unwrap().unwrap();
        }
        assert_eq!(stage.instances().await, ["web-dev", "web-two"], "{polls}");
        assert_eq!(stage.file(), before, "{polls}");
        if ended {
            assert!(
                recovered > 0 && partial > 0,
                "{recovered} recovered, {partial} partial"
            );
            return;
        }
    }
}

#[tokio::test]
async fn gc_deletes_unexpired_copies_only_with_all() {
    let (stage, directory, _) = deleted().await;
    let collected = stage.operations.gc(false).await.unwrap();
    assert_eq!((collected.deleted, collected.left), (0, 2));
    assert_eq!(stage.instances().await.len(), 2);
    let collected = stage.operations.gc(true).await.unwrap();
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
async fn repeats_failed_undo_of_deletion() {
    let (stage, directory, before) = deleted().await;
    stage.fake.fail_next("rename");
    stage
        .operations
        .undo_deletion(&directory)
        .await
        .unwrap_err();
    assert!(stage.operations.is_partially_restored(&directory).unwrap());
    stage
        .operations
        .undo_deletion(&directory)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stage.file(), before);
    assert_eq!(stage.instances().await, ["web-dev", "web-two"]);
    assert!(!stage.operations.is_partially_restored(&directory).unwrap());
}
