//! The user's preferences of undo, on each kind of pool.

use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::SnapshotName;
use lxc_dev_manager_core::operations::UndoPolicy;
use lxc_dev_manager_core::preferences::{Preference, Preferences};

use super::{Stage, env, notices};

async fn stage(pool: Pool) -> Stage {
    let stage = Stage::new(pool);
    stage.create("dev").await.unwrap();
    stage
}

fn prefer(stage: &Stage, preference: Preference, value: &str) {
    Preferences::set(stage.operations.home(), preference, value).unwrap();
}

/// Writes some bytes in `dev` and restores it; returns whether that can be undone.
async fn write_and_restore(stage: &Stage, work: usize) -> bool {
    stage.write(&"x".repeat(work)).await;
    let (project, initial) = (stage.project(), SnapshotName::initial_state());
    let restored = stage
        .operations
        .restore(&project, &env("dev"), &initial)
        .await;
    restored.unwrap().undoable
}

fn undo_count(stage: &Stage) -> usize {
    stage.operations.undo_entries().unwrap().len()
}

#[tokio::test]
async fn deletes_oldest_copies_over_the_limit() {
    let stage = stage(Pool::Btrfs).await;
    stage.fake.set_pool_size(10_000);
    let mut events = stage.operations.bus().subscribe();
    for work in [800, 900] {
        assert!(write_and_restore(&stage, work).await);
    }
    // 1700 of 2000.
    assert_eq!(undo_count(&stage), 2);
    assert_eq!(notices(&mut events), Vec::<String>::new());
    assert!(write_and_restore(&stage, 700).await);
    assert_eq!(undo_count(&stage), 2);
    assert_eq!(
        notices(&mut events),
        [
            "the restore of `dev` can no longer be undone: undo copies are limited to 20 % of the pool"
        ]
    );
    stage
        .operations
        .undo(&mut stage.project(), None)
        .await
        .unwrap();
    assert_eq!(stage.read().await.len(), 700);
}

#[tokio::test]
async fn keeps_newest_copy_over_the_limit() {
    let stage = stage(Pool::Zfs).await;
    prefer(&stage, Preference::UndoMaxShare, "1");
    stage.fake.set_pool_size(10_000);
    stage.write(&"x".repeat(5000)).await;
    let mut project = stage.project();
    let dev = env("dev");
    assert!(stage.operations.remove(&mut project, &dev).await.unwrap());
    assert_eq!(undo_count(&stage), 1);
    stage.create("dev").await.unwrap();
    stage.write(&"x".repeat(50)).await;
    let mut project = stage.project();
    assert!(stage.operations.remove(&mut project, &dev).await.unwrap());
    assert_eq!(undo_count(&stage), 1);
    assert_eq!(stage.instances().await.len(), 1);
}

#[tokio::test]
async fn gc_deletes_oldest_copy_of_nearly_full_pool() {
    let stage = stage(Pool::Btrfs).await;
    prefer(&stage, Preference::UndoMaxShare, "90%");
    for work in [10, 20, 30] {
        assert!(write_and_restore(&stage, work).await);
    }
    stage.write(&"x".repeat(900)).await;
    stage.fake.set_pool_size(1000);
    let collected = stage.operations.gc(false).await.unwrap();
    assert_eq!((collected.deleted, collected.left), (1, 2));
    assert_eq!(undo_count(&stage), 2);
}

#[tokio::test]
async fn gc_keeps_copies_of_locked_env() {
    let stage = stage(Pool::Btrfs).await;
    stage.fake.set_pool_size(1000);
    assert!(write_and_restore(&stage, 300).await);
    assert!(write_and_restore(&stage, 100).await);
    assert_eq!(undo_count(&stage), 1);
    prefer(&stage, Preference::UndoMaxShare, "100");
    assert!(write_and_restore(&stage, 100).await);
    prefer(&stage, Preference::UndoMaxShare, "10");
    stage.write(&"x".repeat(20)).await;
    let run = stage.operations.home().directory("run").unwrap();
    let lock = std::fs::File::open(run.join("web-dev.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(stage.operations.gc(false).await.unwrap().deleted, 0);
    drop(lock);
    assert_eq!(stage.operations.gc(false).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn keeps_no_copy_without_copy_on_write_by_default() {
    let stage = stage(Pool::Dir).await;
    let (project, dev) = (stage.project(), env("dev"));
    let operations = &stage.operations;
    let keeps = operations
        .restore_undo_policy(&project, &dev)
        .await
        .unwrap();
    assert_eq!(keeps, UndoPolicy::TooExpensive);
    assert!(!write_and_restore(&stage, 10).await);
    prefer(&stage, Preference::UndoOnDir, "true");
    let keeps = operations
        .removal_undo_policy(&project, &dev)
        .await
        .unwrap();
    assert_eq!(keeps, UndoPolicy::Keep);
    assert!(write_and_restore(&stage, 10).await);
    let mut project = stage.project();
    assert!(stage.operations.remove(&mut project, &dev).await.unwrap());
    stage.operations.undo(&mut project, None).await.unwrap();
    stage.operations.undo(&mut project, None).await.unwrap();
    assert_eq!(stage.read().await.len(), 10);
}

#[tokio::test]
async fn zero_share_disables_undo_and_zfs_cannot_undo_restores() {
    let stage = stage(Pool::Zfs).await;
    let (project, dev) = (stage.project(), env("dev"));
    prefer(&stage, Preference::UndoOnDir, "true");
    let keeps = stage
        .operations
        .restore_undo_policy(&project, &dev)
        .await
        .unwrap();
    assert_eq!(keeps, UndoPolicy::Unsupported);
    prefer(&stage, Preference::UndoMaxShare, "0");
    let keeps = stage
        .operations
        .restore_undo_policy(&project, &dev)
        .await
        .unwrap();
    assert_eq!(keeps, UndoPolicy::Disabled);
    let mut project = stage.project();
    assert!(!stage.operations.remove(&mut project, &dev).await.unwrap());
    assert!(stage.instances().await.is_empty());
}
