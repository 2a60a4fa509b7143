//! Operations that are cut off at any step, as by SIGKILL, and mended by the next process.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::{EnvStatus, SnapshotName};
use tokio_util::sync::CancellationToken;

use super::{Stage, dev_instance, env, notices, request};

/// Polls a future so many times and drops it then. Whether it had ended.
async fn cut_off<F: Future>(future: F, polls: usize) -> bool {
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

/// The fake answers at once, so a dropped future alone reaches few places: a fault that the process
/// doesn't survive is put before each call instead.
#[tokio::test]
async fn a_process_that_dies_while_taking_back_leaves_it_to_the_next() {
    for call in ["start", "exec", "set_marks", "snapshot"] {
        let stage = Stage::new(Pool::Btrfs);
        stage.fake.fail_next(call);
        // Taking back fails too: what is left is what a killed process would leave.
        stage.fake.fail_next("delete");
        assert!(stage.create("dev").await.is_err());
        assert_eq!(stage.instances().await, ["web-dev"], "{call}");
        assert_eq!(stage.journals(), 1, "{call}");
        let next = stage.other_process();
        assert_eq!(next.interrupted().unwrap().len(), 1);
        let mut events = next.bus().subscribe();
        next.recover().await.unwrap();
        assert_eq!(
            notices(&mut events),
            ["an interrupted create of `dev` was taken back"]
        );
        assert!(stage.instances().await.is_empty(), "{call}");
        assert_eq!(stage.journals(), 0, "{call}");
        assert!(!stage.file().contains("dev"), "{call}");
    }
}

#[tokio::test]
async fn a_create_cut_off_at_any_poll_is_mended() {
    for polls in 1..40 {
        let stage = Stage::new(Pool::Btrfs);
        let (mut project, cancel) = (stage.project(), CancellationToken::new());
        let ended = cut_off(
            stage.engine.create(&mut project, request("dev"), &cancel),
            polls,
        )
        .await;
        stage.other_process().recover().await.unwrap();
        assert_eq!(stage.journals(), 0, "{polls}");
        let whole = stage.file().contains("initial-state");
        assert_eq!(
            stage.instances().await.is_empty(),
            !whole,
            "{polls}: {}",
            stage.file()
        );
        if ended {
            assert!(whole);
            return;
        }
    }
    panic!("a create never ended");
}

#[tokio::test]
async fn an_interrupted_restore_is_finished() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    stage.write("one").await;
    let first = SnapshotName::parse("first").unwrap();
    let mut project = stage.project();
    stage
        .engine
        .snapshot(&mut project, &env("dev"), &first, None)
        .await
        .unwrap();
    stage.write("two").await;
    // The engine goes away in the middle: the operation can't know how it ended.
    let engine = stage.engine.clone();
    let mut events = engine.bus().subscribe();
    let fake = stage.fake.clone();
    let outage = tokio::spawn(async move {
        use lxc_dev_manager_core::event::EventKind;
        while let Ok(event) = events.recv().await {
            if matches!(&event.kind, EventKind::Progress { step, .. } if step.text == "restoring") {
                break;
            }
        }
        fake.set_unreachable(true);
    });
    stage.fake.fail_next("start");
    let result = engine.restore(&project, &env("dev"), &first).await;
    assert!(result.is_err());
    outage.await.unwrap();
    stage.fake.set_unreachable(false);
    let next = stage.other_process();
    next.recover().await.unwrap();
    assert_eq!(stage.journals(), 0);
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    if instance.status == EnvStatus::Stopped {
        next.start(&project, &env("dev")).await.unwrap();
    }
    assert_eq!(stage.read().await, "one");
}

#[tokio::test]
async fn two_operations_on_one_env_wait_for_each_other() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let (first, second) = (stage.engine.clone(), stage.other_process());
    let project = stage.project();
    let dev = env("dev");
    let (a, b) = tokio::join!(first.stop(&project, &dev), second.stop(&project, &dev));
    let already = [a.unwrap().already, b.unwrap().already];
    assert_eq!(
        already.iter().filter(|already| **already).count(),
        1,
        "{already:?}"
    );
}

#[tokio::test]
async fn what_can_not_be_mended_now_stays() {
    let stage = Stage::new(Pool::Btrfs);
    stage.fake.fail_next("start");
    stage.fake.fail_next("delete");
    assert!(stage.create("dev").await.is_err());
    stage.fake.set_unreachable(true);
    let next = stage.other_process();
    let mut events = next.bus().subscribe();
    next.recover().await.unwrap();
    assert!(notices(&mut events)[0].contains("can't be mended yet"));
    assert_eq!(stage.journals(), 1);
    stage.fake.set_unreachable(false);
    next.recover().await.unwrap();
    assert!(stage.instances().await.is_empty());
}
