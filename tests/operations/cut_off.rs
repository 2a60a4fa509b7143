//! Each operation, cut off at each of its steps as by SIGKILL, and what the next process makes of it.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::{EnvStatus, SnapshotName};
use lxc_dev_manager_core::operations::MayStop;
use tokio_util::sync::CancellationToken;

use super::{Stage, dev_instance, env, notices, request};

/// More polls than any operation takes.
pub(super) const MANY: usize = 200;

/// Polls a future so many times and drops it then. Whether it had ended.
pub(super) async fn cut_off<F: Future>(future: F, polls: usize) -> bool {
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

/// An env that runs, with the snapshot `first` of the note `one`, and the note `two` now.
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

/// The next process comes, and nothing is left open.
pub(super) async fn mend(stage: &Stage, at: &str) {
    stage.other_process().recover().await.unwrap();
    assert_eq!(stage.journals(), 0, "{at}");
}

pub(super) async fn expect_running(stage: &Stage, at: &str) {
    let instance = stage.fake.instance(&dev_instance()).await;
    assert_eq!(instance.expect(at).status, EnvStatus::Running, "{at}");
}

/// Removed as a whole (`true`), or there as a whole.
async fn is_removed(stage: &Stage, at: &str) -> bool {
    let gone = stage.fake.instance(&dev_instance()).await.is_err();
    assert_eq!(
        gone,
        !stage.file().contains("dev:"),
        "{at}: {}",
        stage.file()
    );
    if !gone {
        expect_running(stage, at).await;
    }
    gone
}

#[tokio::test]
async fn a_create_without_snapshots_is_whole_or_gone() {
    let mut kept = 0;
    for polls in 1..=MANY {
        assert!(polls < MANY, "a create never ended");
        let stage = Stage::new(Pool::Btrfs);
        stage.fake.forbid_snapshots();
        let done = cut_off(stage.create("dev"), polls).await;
        mend(&stage, &format!("after {polls} polls")).await;
        let held = stage.instances().await.len();
        let listed = stage.file().contains("dev:");
        assert_eq!(held == 1, listed, "after {polls} polls");
        kept += held;
        if done {
            break;
        }
    }
    assert!(kept > 0);
}

#[tokio::test]
async fn a_create_is_whole_or_gone() {
    for polls in 1..MANY {
        let stage = Stage::new(Pool::Btrfs);
        let before = stage.file();
        let (mut project, cancel) = (stage.project(), CancellationToken::new());
        let create = stage
            .operations
            .create(&mut project, request("dev"), &cancel);
        let ended = cut_off(create, polls).await;
        mend(&stage, &format!("{polls}")).await;
        if stage.instances().await.is_empty() {
            assert_eq!(stage.file(), before, "{polls}");
        } else {
            assert!(stage.file().contains("initial-state"), "{polls}");
            expect_running(&stage, "create").await;
        }
        if ended {
            assert_eq!(stage.instances().await, ["web-dev"]);
            return;
        }
    }
    panic!("a create never ended");
}

#[tokio::test]
async fn a_restore_is_done_or_not_begun_and_the_env_runs() {
    for pool in [Pool::Btrfs, Pool::Zfs, Pool::Dir] {
        for polls in 1..=MANY {
            assert!(polls < MANY, "a restore never ended");
            let at = format!("{pool:?} {polls}");
            let stage = stage(pool).await;
            let project = stage.project();
            let (dev, first) = (env("dev"), first());
            let ended = cut_off(stage.operations.restore(&project, &dev, &first), polls).await;
            mend(&stage, &at).await;
            expect_running(&stage, &at).await;
            let note = stage.read().await;
            assert!(note == "one" || note == "two" && !ended, "{at}: {note}");
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
    }
}

#[tokio::test]
async fn an_env_that_is_up_is_not_set_back_by_recovery() {
    // Killed before the env was stopped: it goes on running, and somebody works in it.
    for pool in [Pool::Btrfs, Pool::Dir] {
        for polls in 1..=MANY {
            assert!(polls < MANY, "a restore never ended");
            let stage = stage(pool).await;
            let project = stage.project();
            let (dev, first) = (env("dev"), first());
            let ended = cut_off(stage.operations.restore(&project, &dev, &first), polls).await;
            let instance = stage.fake.instance(&dev_instance()).await.unwrap();
            if instance.status == EnvStatus::Running && !ended {
                stage.write("three").await;
                mend(&stage, "").await;
                assert_eq!(stage.read().await, "three", "{pool:?} {polls}");
            }
            if ended {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_fails_for_good_is_given_up() {
    for polls in 1..=MANY {
        assert!(polls < MANY, "a restore never got that far");
        let stage = stage(Pool::Btrfs).await;
        let (project, dev) = (stage.project(), env("dev"));
        stage.operations.stop(&project, &dev).await.unwrap();
        cut_off(stage.operations.restore(&project, &dev, &first()), polls).await;
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
            let told = notices(&mut events);
            assert!(
                told[2].contains("is given up: a fault before `restore`"),
                "{told:?}"
            );
            return;
        }
    }
}

#[tokio::test]
async fn a_restore_that_failed_leaves_the_env_running_and_no_copy() {
    for polls in 1..=MANY {
        assert!(polls < MANY, "a restore never stopped it");
        let stage = stage(Pool::Btrfs).await;
        cut_off(
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
        expect_running(&stage, "after a failure").await;
        mend(&stage, "after a failure").await;
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        assert!(!instance.snapshots.iter().any(|kept| kept.name.is_undo()));
        assert_eq!(stage.read().await, "two");
        return;
    }
}

#[tokio::test]
async fn an_operation_mends_its_own_env_before_it_begins() {
    let stage = stage(Pool::Btrfs).await;
    let mut project = stage.project();
    let dev = env("dev");
    for polls in 1..MANY {
        cut_off(stage.operations.remove(&mut project, &dev), polls).await;
        if stage.fake.instance(&dev_instance()).await.is_err() {
            break;
        }
    }
    // Its engine is away, so whether the env is there can't be told: no second one is made.
    stage.fake.set_unreachable(true);
    let error = stage.create("dev").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    stage.fake.set_unreachable(false);
    stage.create("dev").await.unwrap();
    assert!(!is_removed(&stage, "made anew").await);
    assert_eq!(stage.journals(), 0);
}

#[tokio::test]
async fn an_undo_of_a_restore_is_done_or_not_begun() {
    for polls in 1..=MANY {
        assert!(polls < MANY, "an undo never ended");
        let at = format!("{polls}");
        let stage = stage(Pool::Btrfs).await;
        stage
            .operations
            .restore(&stage.project(), &env("dev"), &first())
            .await
            .unwrap();
        let mut project = stage.project();
        let ended = cut_off(stage.operations.undo(&mut project, None), polls).await;
        mend(&stage, &at).await;
        expect_running(&stage, &at).await;
        let note = stage.read().await;
        assert!(note == "two" || note == "one" && !ended, "{at}: {note}");
        // Either way there is one more undo, which leads to the other state.
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
}

#[tokio::test]
async fn a_removal_is_done_or_taken_back() {
    for pool in [Pool::Btrfs, Pool::Dir] {
        for polls in 1..=MANY {
            assert!(polls < MANY, "a removal never ended");
            let at = format!("{pool:?} {polls}");
            let stage = stage(pool).await;
            let before = stage.file();
            let mut project = stage.project();
            let dev = env("dev");
            let ended = cut_off(stage.operations.remove(&mut project, &dev), polls).await;
            mend(&stage, &at).await;
            let removed = is_removed(&stage, &at).await;
            assert!(removed || !ended, "{at}");
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
                expect_running(&stage, &at).await;
                assert_eq!(stage.read().await, "two", "{at}");
            }
            if ended {
                break;
            }
        }
    }
}

#[tokio::test]
async fn an_undo_of_a_removal_is_done_or_can_be_done_again() {
    for polls in 1..=MANY {
        assert!(polls < MANY, "an undo never ended");
        let at = format!("{polls}");
        let stage = stage(Pool::Btrfs).await;
        let before = stage.file();
        stage
            .operations
            .remove(&mut stage.project(), &env("dev"))
            .await
            .unwrap();
        let mut project = stage.project();
        let ended = cut_off(stage.operations.undo(&mut project, None), polls).await;
        mend(&stage, &at).await;
        if is_removed(&stage, &at).await {
            assert!(!ended, "{at}");
            stage
                .operations
                .undo(&mut stage.project(), None)
                .await
                .unwrap();
        }
        expect_running(&stage, &at).await;
        assert_eq!(stage.file(), before, "{at}");
        assert_eq!(stage.read().await, "two", "{at}");
        if ended {
            break;
        }
    }
}

#[tokio::test]
async fn a_snapshot_is_in_file_and_engine_or_in_neither() {
    for polls in 1..=MANY {
        assert!(polls < MANY, "a snapshot never ended");
        let stage = stage(Pool::Btrfs).await;
        let mut project = stage.project();
        let (dev, second) = (env("dev"), "second".parse().unwrap());
        let take = stage
            .operations
            .snapshot(&mut project, &dev, &second, None, MayStop::Yes);
        let ended = cut_off(take, polls).await;
        mend(&stage, "").await;
        let instance = stage.fake.instance(&dev_instance()).await.unwrap();
        let taken = instance.snapshots.iter().any(|taken| taken.name == second);
        assert_eq!(stage.file().contains("second"), taken, "{polls}");
        if ended {
            assert!(taken);
            break;
        }
    }
}

#[tokio::test]
async fn nothing_is_deleted_while_the_file_can_not_be_read() {
    for polls in 1..MANY {
        let stage = Stage::new(Pool::Btrfs);
        let (mut project, cancel) = (stage.project(), CancellationToken::new());
        let create = stage
            .operations
            .create(&mut project, request("dev"), &cancel);
        let ended = cut_off(create, polls).await;
        let made = stage.instances().await;
        let path = stage.directory().join("containers.yaml");
        let text = stage.file();
        std::fs::write(&path, "containers: [").unwrap();
        stage.other_process().recover().await.unwrap();
        assert_eq!(stage.instances().await, made, "{polls}");
        std::fs::write(&path, text).unwrap();
        mend(&stage, &format!("{polls}")).await;
        if ended {
            return;
        }
    }
}
