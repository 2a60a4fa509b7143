//! What the user prefers of undo, on pools of each kind.

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

/// Works a little in `dev`, and sets it back.
async fn work_and_reset(stage: &Stage, work: usize) -> bool {
    stage.write(&"x".repeat(work)).await;
    let (project, initial) = (stage.project(), SnapshotName::initial_state());
    let restored = stage
        .operations
        .restore(&project, &env("dev"), &initial)
        .await;
    restored.unwrap().undoable
}

fn kept(stage: &Stage) -> usize {
    stage.operations.kept().unwrap().len()
}

#[tokio::test]
async fn the_oldest_copies_go_where_all_hold_more_than_their_share() {
    let stage = stage(Pool::Btrfs).await;
    stage.fake.set_pool_size(10_000);
    let mut events = stage.operations.bus().subscribe();
    for work in [800, 900] {
        assert!(work_and_reset(&stage, work).await);
    }
    // 1700 of 2000.
    assert_eq!(kept(&stage), 2);
    assert_eq!(notices(&mut events), Vec::<String>::new());
    assert!(work_and_reset(&stage, 700).await);
    assert_eq!(kept(&stage), 2);
    assert_eq!(
        notices(&mut events),
        ["the restore of `dev` can't be undone any more: undo may hold 20 % of the pool"]
    );
    // Newest first: what was just done can be taken back.
    stage
        .operations
        .undo(&mut stage.project(), None)
        .await
        .unwrap();
    assert_eq!(stage.read().await.len(), 700);
}

#[tokio::test]
async fn what_was_kept_last_stays_however_much_it_holds() {
    let stage = stage(Pool::Zfs).await;
    prefer(&stage, Preference::UndoMaxShare, "1");
    stage.fake.set_pool_size(10_000);
    stage.write(&"x".repeat(5000)).await;
    let mut project = stage.project();
    let dev = env("dev");
    assert!(stage.operations.remove(&mut project, &dev).await.unwrap());
    assert_eq!(kept(&stage), 1);
    stage.create("dev").await.unwrap();
    stage.write(&"x".repeat(50)).await;
    let mut project = stage.project();
    assert!(stage.operations.remove(&mut project, &dev).await.unwrap());
    // Together they are too much, and the older one goes.
    assert_eq!(kept(&stage), 1);
    assert_eq!(stage.instances().await.len(), 1);
}

#[tokio::test]
async fn gc_gives_up_the_oldest_where_the_pool_is_nearly_full() {
    let stage = stage(Pool::Btrfs).await;
    prefer(&stage, Preference::UndoMaxShare, "90%");
    for work in [10, 20, 30] {
        assert!(work_and_reset(&stage, work).await);
    }
    stage.write(&"x".repeat(900)).await;
    stage.fake.set_pool_size(1000);
    let collected = stage.operations.collect(false).await.unwrap();
    assert_eq!((collected.deleted, collected.left), (1, 2));
    assert_eq!(kept(&stage), 2);
}

#[tokio::test]
async fn an_env_on_which_somebody_works_keeps_its_copies() {
    let stage = stage(Pool::Btrfs).await;
    stage.fake.set_pool_size(1000);
    assert!(work_and_reset(&stage, 300).await);
    assert!(work_and_reset(&stage, 100).await);
    assert_eq!(kept(&stage), 1);
    prefer(&stage, Preference::UndoMaxShare, "100");
    assert!(work_and_reset(&stage, 100).await);
    prefer(&stage, Preference::UndoMaxShare, "10");
    stage.write(&"x".repeat(20)).await;
    let run = stage.operations.home().directory("run").unwrap();
    let lock = std::fs::File::open(run.join("web-dev.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(stage.operations.collect(false).await.unwrap().deleted, 0);
    drop(lock);
    assert_eq!(stage.operations.collect(false).await.unwrap().deleted, 1);
}

#[tokio::test]
async fn without_copy_on_write_nothing_is_kept_unless_asked_for() {
    let stage = stage(Pool::Dir).await;
    let (project, dev) = (stage.project(), env("dev"));
    let operations = &stage.operations;
    let keeps = operations.restore_keeps(&project, &dev).await.unwrap();
    assert_eq!(keeps, UndoPolicy::TooExpensive);
    assert!(!work_and_reset(&stage, 10).await);
    prefer(&stage, Preference::UndoOnDir, "true");
    let keeps = operations.removal_keeps(&project, &dev).await.unwrap();
    assert_eq!(keeps, UndoPolicy::Keep);
    assert!(work_and_reset(&stage, 10).await);
    let mut project = stage.project();
    assert!(stage.operations.remove(&mut project, &dev).await.unwrap());
    stage.operations.undo(&mut project, None).await.unwrap();
    stage.operations.undo(&mut project, None).await.unwrap();
    assert_eq!(stage.read().await.len(), 10);
}

#[tokio::test]
async fn no_share_means_no_undo_and_zfs_keeps_nothing_at_a_restore_in_any_case() {
    let stage = stage(Pool::Zfs).await;
    let (project, dev) = (stage.project(), env("dev"));
    prefer(&stage, Preference::UndoOnDir, "true");
    let keeps = stage
        .operations
        .restore_keeps(&project, &dev)
        .await
        .unwrap();
    assert_eq!(keeps, UndoPolicy::Unsupported);
    prefer(&stage, Preference::UndoMaxShare, "0");
    let keeps = stage
        .operations
        .restore_keeps(&project, &dev)
        .await
        .unwrap();
    assert_eq!(keeps, UndoPolicy::Disabled);
    let mut project = stage.project();
    assert!(!stage.operations.remove(&mut project, &dev).await.unwrap());
    assert!(stage.instances().await.is_empty());
}
