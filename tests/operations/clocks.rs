//! A wall clock that is wrong for a while.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::clock::Clock;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::operations::Operations;

use super::{Stage, env};

/// The time, and how far it is ahead.
#[derive(Default)]
struct WrongClock(Mutex<SignedDuration>);

impl WrongClock {
    fn set_hours(&self, hours: i64) {
        *self.0.lock().unwrap() = SignedDuration::from_hours(hours);
    }
}

impl Clock for WrongClock {
    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.0.lock().unwrap()
    }
}

/// Two removed envs, and a process that looks at another clock.
async fn removed() -> (Stage, Arc<WrongClock>, Operations) {
    let stage = Stage::new(Pool::Btrfs);
    for name in ["dev", "two"] {
        stage.create(name).await.unwrap();
        stage
            .operations
            .remove(&mut stage.project(), &env(name))
            .await
            .unwrap();
    }
    let clock = Arc::new(WrongClock::default());
    let home = Home::new(stage.root.path().join("home"), None, None);
    let operations = Operations::new(vec![stage.fake.clone()], home, clock.clone());
    (stage, clock, operations)
}

#[tokio::test]
async fn clock_that_is_ahead_for_a_moment_deletes_no_removed_env() {
    let (stage, clock, operations) = removed().await;
    clock.set_hours(100);
    for _ in 0..3 {
        operations.gc(false).await.unwrap();
    }
    // Corrected; the next look at an expired copy is the first one again.
    clock.set_hours(0);
    operations.gc(false).await.unwrap();
    clock.set_hours(100);
    operations.gc(false).await.unwrap();
    assert_eq!(stage.instances().await.len(), 2);
    clock.set_hours(0);
    operations
        .undo(&mut stage.project(), Some(&env("dev")))
        .await
        .unwrap();
    assert!(stage.project().file().entry(&env("dev")).is_some());
}

#[tokio::test]
async fn expired_copies_are_deleted_at_the_second_look() {
    let (stage, clock, operations) = removed().await;
    clock.set_hours(73);
    operations.gc(false).await.unwrap();
    assert_eq!(stage.instances().await.len(), 2);
    clock.set_hours(75);
    operations.gc(false).await.unwrap();
    assert!(stage.instances().await.is_empty());
}
