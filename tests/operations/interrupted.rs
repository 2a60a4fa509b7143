//! Each operation, interrupted at each await point, and its recovery by the next process.

use lxc_dev_manager_core::backend::Instances;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::{EnvStatus, SnapshotName};
use lxc_dev_manager_core::operations::MayStop;
use tokio_util::sync::CancellationToken;

use super::{Stage, dev_instance, env, notices, request};

/// More polls than any operation takes.
pub(super) const MAX_POLLS: usize = 200;

/// Drops a future after this many polls, as if its process were killed. Returns whether it had ended.
pub(super) async fn interrupt<F: Future>(future: F, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await
}

pub(super) fn first() -> SnapshotName {
    "first".parse().unwrap()
}

/// A running env with the note `two`, and the note `one` in its snapshot `first`.
pub(super) async fn stage(pool: Pool) -> Stage {
    let stage = Stage::new(pool);
    stage.create("dev").await.unwrap();
    stage.write("one").await;
    let mut project = stage.project();
    stage
        .operations
        .snapshot(&mut project, &env("dev"), &first(), None, MayStop::Yes)
        .await
        .unwrap();
    stage.write("two").await;
    stage
}

/// Recovers in another process; no journal may be left. Returns whether there was one.
pub(super) async fn recover(stage: &Stage, at: &str) -> bool {
    let interrupted = stage.journals() > 0;
    stage.other_process().recover().await.unwrap();
    assert_eq!(stage.journals(), 0, "{at}");
    interrupted
}

pub(super) async fn assert_running(stage: &Stage, at: &str) {
    let instance = stage.fake.instance(&dev_instance()).await;
    assert_eq!(instance.expect(at).status, EnvStatus::Running, "{at}");
}

/// Whether the env is removed completely; fails if it is partially.
async fn is_removed(stage: &Stage, at: &str) -> bool {
    let gone = stage.fake.instance(&dev_instance()).await.is_err();
    assert_eq!(
        gone,
        !stage.file().contains("dev:"),
        "{at}: {}",
        stage.file()
    );
    if !gone {
        assert_running(stage, at).await;
    }
    gone
}

#[tokio::test]
async fn interrupted_create_without_snapshots_is_complete_or_gone() {
    let (mut kept, mut rolled_back) = (0, 0);
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a create never ended");
        let stage = Stage::new(Pool::Btrfs);
        stage.fake.forbid_snapshots();
        let done = interrupt(stage.create("dev"), polls).await;
        let made = stage.instances().await.len();
        recover(&stage, &format!("after {polls} polls")).await;
        let held = stage.instances().await.len();
        let listed = stage.file().contains("dev:");
        assert_eq!(held == 1, listed, "after {polls} polls");
        kept += held;
        rolled_back += made - held;
        if done {
            break;
        }
    }
    assert!(
        kept > 0 && rolled_back > 0,
        "{kept} kept, {rolled_back} rolled back"
    );
}

#[tokio::test]
async fn interrupted_create_is_complete_or_gone() {
    let mut rolled_back = 0;
    for polls in 1..MAX_POLLS {
        let stage = Stage::new(Pool::Btrfs);
        let before = stage.file();
        let (mut project, cancel) = (stage.project(), CancellationToken::new());
        let create = stage
            .operations
            .create(&mut project, request("dev"), &cancel);
        let ended = interrupt(create, polls).await;
        let made = stage.instances().await.len();
        recover(&stage, &format!("{polls}")).await;
        if stage.instances().await.is_empty() {
            rolled_back += made;
            assert_eq!(stage.file(), before, "{polls}");
        } else {
            assert!(stage.file().contains("initial-state"), "{polls}");
            assert_running(&stage, "create").await;
        }
        if ended {
            assert_eq!(stage.instances().await, ["web-dev"]);
            assert!(rolled_back > 0, "no instance had to be deleted");
            return;
        }
    }
    panic!("a create never ended");
}

#[tokio::test]
async fn interrupted_restore_is_completed_or_not_begun() {
    for pool in [Pool::Btrfs, Pool::Zfs, Pool::Dir] {
        let (mut completed, mut dropped) = (0, 0);
        for polls in 1..=MAX_POLLS {
            assert!(polls < MAX_POLLS, "a restore never ended");
            let at = format!("{pool:?} {polls}");
            let stage = stage(pool).await;
            let project = stage.project();
            let (dev, first) = (env("dev"), first());
            let ended = interrupt(stage.operations.restore(&project, &dev, &first), polls).await;
            let interrupted = recover(&stage, &at).await;
            assert_running(&stage, &at).await;
            let note = stage.read().await;
            assert!(note == "one" || note == "two" && !ended, "{at}: {note}");
            completed += usize::from(interrupted && note == "one");
            dropped += usize::from(interrupted && note == "two");
            if note == "one" && pool == Pool::Btrfs {
                stage
                    .operations
                    .undo(&mut stage.project(), None)
                    .await
                    .unwrap();
                assert_eq!(stage.read().await, "two", "{at}");
            }
            if ended {
                break;
            }
        }
        assert!(
            completed > 0 && dropped > 0,
            "{pool:?}: {completed} completed, {dropped} dropped"
        );
    }
}

#[tokio::test]
async fn recovery_does_not_restore_running_env() {
    // Interrupted before the stop: the env is in use.
    for pool in [Pool::Btrfs, Pool::Dir] {
        let mut before_stop = 0;
        for polls in 1..=MAX_POLLS {
            assert!(polls < MAX_POLLS, "a restore never ended");
            let stage = stage(pool).await;
            let project = stage.project();
            let (dev, first) = (env("dev"), first());
            let ended = interrupt(stage.operations.restore(&project, &dev, &first), polls).await;
            let instance = stage.fake.instance(&dev_instance()).await.unwrap();
            if instance.status == EnvStatus::Running && !ended {
                let not_begun = stage.journals() > 0 && stage.read().await == "two";
                before_stop += usize::from(not_begun);
                stage.write("three").await;
                recover(&stage, "").await;
                assert_eq!(stage.read().await, "three", "{pool:?} {polls}");
            }
            if ended {
                break;
            }
        }
        assert!(
            before_stop > 0,
            "{pool:?}: never interrupted before the stop"
        );
    }
}

#[tokio::test]
async fn drops_journal_after_three_failed_recoveries() {
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "the restore never got that far");
        let stage = stage(Pool::Btrfs).await;
        let (project, dev) = (stage.project(), env("dev"));
        stage.operations.stop(&project, &dev).await.unwrap();
        interrupt(stage.operations.restore(&project, &dev, &first()), polls).await;
        let mut left = Vec::new();
        let next = stage.other_process();
        let mut events = next.bus().subscribe();
        for _ in 0..3 {
            stage.fake.fail_next("restore");
            next.recover().await.unwrap();
            left.push(stage.journals());
        }
        if left[0] == 1 {
            assert_eq!(left, [1, 1, 0]);
            let notices = notices(&mut events);
            assert!(
                notices[2].contains("dropping it: injected fault before `restore`"),
                "{notices:?}"
            );
            return;
        }
    }
}

#[tokio::test]
async fn failed_recovery_of_restore_leaves_env_running_without_undo_copy() {
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a restore never stopped it");
        let stage = stage(Pool::Btrfs).await;
        interrupt(
            stage
                .operations
                .restore(&stage.project(), &env("dev"), &first()),
            polls,
        )
        .await;
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        if instance.status != EnvStatus::Stopped {
            continue;
        }
        stage.fake.fail_next("restore");
        stage.other_process().recover().await.unwrap();
        assert_running(&stage, "after a failure").await;
        recover(&stage, "after a failure").await;
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        assert!(!instance.snapshots.iter().any(|kept| kept.name.is_undo()));
        assert_eq!(stage.read().await, "two");
        return;
    }
}

#[tokio::test]
async fn operation_recovers_its_env_first() {
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a removal never renamed it");
        let stage = stage(Pool::Btrfs).await;
        let mut project = stage.project();
        interrupt(stage.operations.remove(&mut project, &env("dev")), polls).await;
        if stage.fake.instance(&dev_instance()).await.is_ok() {
            continue;
        }
        assert_eq!(stage.journals(), 1, "nothing to recover");
        // While the engine is unreachable, the env may exist: no second one is created.
        stage.fake.set_unreachable(true);
        let error = stage.create("dev").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert_eq!(stage.journals(), 1);
        stage.fake.set_unreachable(false);
        stage.create("dev").await.unwrap();
        assert!(!is_removed(&stage, "created again").await);
        assert_eq!(stage.journals(), 0);
        return;
    }
}

#[tokio::test]
async fn interrupted_undo_of_restore_is_completed_or_not_begun() {
    let (mut completed, mut dropped) = (0, 0);
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "an undo never ended");
        let at = format!("{polls}");
        let stage = stage(Pool::Btrfs).await;
        stage
            .operations
            .restore(&stage.project(), &env("dev"), &first())
            .await
            .unwrap();
        let mut project = stage.project();
        let ended = interrupt(stage.operations.undo(&mut project, None), polls).await;
        let interrupted = recover(&stage, &at).await;
        assert_running(&stage, &at).await;
        let note = stage.read().await;
        assert!(note == "two" || note == "one" && !ended, "{at}: {note}");
        completed += usize::from(interrupted && note == "two");
        dropped += usize::from(interrupted && note == "one");
        // Another undo leads to the other state.
        stage
            .operations
            .undo(&mut stage.project(), None)
            .await
            .unwrap();
        let other = if note == "two" { "one" } else { "two" };
        assert_eq!(stage.read().await, other, "{at}");
        if ended {
            break;
        }
    }
    assert!(
        completed > 0 && dropped > 0,
        "{completed} completed, {dropped} dropped"
    );
}

#[tokio::test]
async fn interrupted_removal_is_completed_or_rolled_back() {
    for pool in [Pool::Btrfs, Pool::Dir] {
        let (mut completed, mut rolled_back) = (0, 0);
        for polls in 1..=MAX_POLLS {
            assert!(polls < MAX_POLLS, "a removal never ended");
            let at = format!("{pool:?} {polls}");
            let stage = stage(pool).await;
            let before = stage.file();
            let mut project = stage.project();
            let dev = env("dev");
            let ended = interrupt(stage.operations.remove(&mut project, &dev), polls).await;
            let interrupted = recover(&stage, &at).await;
            let removed = is_removed(&stage, &at).await;
            assert!(removed || !ended, "{at}");
            completed += usize::from(interrupted && removed);
            rolled_back += usize::from(interrupted && !removed);
            let undone = stage.operations.undo(&mut stage.project(), None).await;
            match undone {
                Ok(_) => assert!(removed && pool == Pool::Btrfs, "{at}"),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{at}");
                    assert!(!removed || pool == Pool::Dir, "{at}");
                }
            }
            if !removed || pool == Pool::Btrfs {
                assert_eq!(stage.file(), before, "{at}");
                assert_running(&stage, &at).await;
                assert_eq!(stage.read().await, "two", "{at}");
            }
            if ended {
                break;
            }
        }
        assert!(
            completed > 0 && rolled_back > 0,
            "{pool:?}: {completed} completed, {rolled_back} rolled back"
        );
    }
}

#[tokio::test]
async fn interrupted_undo_of_removal_is_completed_or_can_be_repeated() {
    let mut completed = 0;
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "an undo never ended");
        let at = format!("{polls}");
        let stage = stage(Pool::Btrfs).await;
        let before = stage.file();
        stage
            .operations
            .remove(&mut stage.project(), &env("dev"))
            .await
            .unwrap();
        let mut project = stage.project();
        let ended = interrupt(stage.operations.undo(&mut project, None), polls).await;
        let interrupted = recover(&stage, &at).await;
        if is_removed(&stage, &at).await {
            assert!(!ended, "{at}");
            stage
                .operations
                .undo(&mut stage.project(), None)
                .await
                .unwrap();
        } else {
            completed += usize::from(interrupted);
        }
        assert_running(&stage, &at).await;
        assert_eq!(stage.file(), before, "{at}");
        assert_eq!(stage.read().await, "two", "{at}");
        if ended {
            break;
        }
    }
    assert!(completed > 0, "no undo was completed");
}

#[tokio::test]
async fn interrupted_snapshot_is_in_file_and_engine_or_in_neither() {
    let (mut completed, mut dropped) = (0, 0);
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a snapshot never ended");
        let stage = stage(Pool::Btrfs).await;
        let mut project = stage.project();
        let (dev, second) = (env("dev"), "second".parse().unwrap());
        let take = stage
            .operations
            .snapshot(&mut project, &dev, &second, None, MayStop::Yes);
        let ended = interrupt(take, polls).await;
        let interrupted = recover(&stage, "").await;
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        let taken = instance.snapshots.iter().any(|taken| taken.name == second);
        assert_eq!(stage.file().contains("second"), taken, "{polls}");
        completed += usize::from(interrupted && taken);
        dropped += usize::from(interrupted && !taken);
        if ended {
            assert!(taken);
            break;
        }
    }
    assert!(
        completed > 0 && dropped > 0,
        "{completed} completed, {dropped} dropped"
    );
}

#[tokio::test]
async fn recovery_deletes_nothing_while_file_is_invalid() {
    let mut kept = 0;
    for polls in 1..=MAX_POLLS {
        assert!(polls < MAX_POLLS, "a create never ended");
        let stage = Stage::new(Pool::Btrfs);
        let (mut project, cancel) = (stage.project(), CancellationToken::new());
        let create = stage
            .operations
            .create(&mut project, request("dev"), &cancel);
        let ended = interrupt(create, polls).await;
        let made = stage.instances().await;
        if stage.journals() > 0 {
            kept += made.len();
        }
        let path = stage.directory().join("containers.yaml");
        let text = stage.file();
        std::fs::write(&path, "containers: [").unwrap();
        stage.other_process().recover().await.unwrap();
        assert_eq!(stage.instances().await, made, "{polls}");
        std::fs::write(&path, text).unwrap();
        recover(&stage, &format!("{polls}")).await;
        if ended {
            break;
        }
    }
    assert!(kept > 0, "no instance could have been deleted");
}
