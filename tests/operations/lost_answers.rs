//! Answers of the engine that are lost, with and without the change that they are about.

use jiff::{SignedDuration, Timestamp};
use lxc_dev_manager_core::backend::Instances;
use lxc_dev_manager_core::backend::fake::{Fault, Pool};
use lxc_dev_manager_core::model::{EnvStatus, SnapshotName};
use lxc_dev_manager_core::operations::MayStop;

use super::{Stage, dev_instance, env, notices};

/// A running env with a note that says "first" in the snapshot `first`, and "second" now.
async fn stage() -> Stage {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    stage.write("first").await;
    let first = SnapshotName::parse("first").unwrap();
    stage
        .operations
        .snapshot(
            &mut stage.project(),
            &env("dev"),
            &first,
            None,
            MayStop::Yes,
        )
        .await
        .unwrap();
    stage.write("second").await;
    stage
}

async fn restore(stage: &Stage) -> lxc_dev_manager_core::Result<()> {
    let first = SnapshotName::parse("first").unwrap();
    let restored = stage
        .operations
        .restore(&stage.project(), &env("dev"), &first)
        .await;
    restored.map(drop)
}

async fn status(stage: &Stage) -> EnvStatus {
    stage.fake.instance(&dev_instance()).await.unwrap().status
}

#[tokio::test]
async fn create_leaves_nothing_or_all() {
    for call in ["create", "start", "create_snapshot", "set_marks"] {
        for fault in [Fault::After, Fault::NoAnswer, Fault::LostAnswer] {
            let stage = Stage::new(Pool::Btrfs);
            stage.fake.inject(call, fault);
            let created = stage.create("dev").await;
            assert!(created.is_err(), "{call} {fault:?}");
            stage.other_process().recover().await.unwrap();
            assert!(stage.instances().await.is_empty(), "{call} {fault:?}");
            assert_eq!(stage.journals(), 0, "{call} {fault:?}");
            assert!(!stage.file().contains("dev:"), "{call} {fault:?}");
            // The name is free again.
            stage.create("dev").await.unwrap();
        }
    }
}

#[tokio::test]
async fn restore_without_an_answer_is_completed() {
    for call in ["stop", "create_snapshot", "restore", "start"] {
        for fault in [Fault::NoAnswer, Fault::LostAnswer] {
            let stage = stage().await;
            stage.fake.inject(call, fault);
            let restored = restore(&stage).await;
            assert!(
                restored.is_err_and(|error| error.is_uncertain()),
                "{call} {fault:?}"
            );
            stage.other_process().recover().await.unwrap();
            assert_eq!(stage.journals(), 0, "{call} {fault:?}");
            assert_eq!(status(&stage).await, EnvStatus::Running, "{call} {fault:?}");
            // Before the restore itself was asked for, nothing has changed.
            let expected = if matches!(call, "stop" | "create_snapshot") {
                "second"
            } else {
                "first"
            };
            assert_eq!(stage.read().await, expected, "{call} {fault:?}");
            restore(&stage).await.unwrap();
            assert_eq!(stage.read().await, "first");
        }
    }
}

#[tokio::test]
async fn recovery_does_not_depend_on_the_clock_of_the_engine() {
    let far = SignedDuration::from_hours(24 * 365);
    for clock in [
        Timestamp::UNIX_EPOCH,
        Timestamp::now() - far,
        Timestamp::now() + far,
    ] {
        for is_started in [false, true] {
            let stage = self::stage().await;
            stage.fake.set_clock(clock);
            stage
                .operations
                .restart(&stage.project(), &env("dev"))
                .await
                .unwrap();
            stage.fake.inject("restore", Fault::NoAnswer);
            restore(&stage).await.unwrap_err();
            if is_started {
                stage.fake.start(&dev_instance()).await.unwrap();
                stage.write("third").await;
                stage.fake.stop(&dev_instance(), true).await.unwrap();
            }
            let other = stage.other_process();
            let mut events = other.bus().subscribe();
            other.recover().await.unwrap();
            let said = notices(&mut events);
            if is_started {
                // Work that was done since is not rewound.
                assert!(
                    said[0].contains("the env was started since"),
                    "{clock}: {said:?}"
                );
                stage.fake.start(&dev_instance()).await.unwrap();
                assert_eq!(stage.read().await, "third");
            } else {
                assert!(said[0].contains("completed"), "{clock}: {said:?}");
                assert_eq!(stage.read().await, "first");
            }
        }
    }
}
