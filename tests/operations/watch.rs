//! The live view.

use lxc_dev_manager_core::backend::Instances;
use std::collections::VecDeque;
use std::time::Duration;

use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::EnvStatus;
use lxc_dev_manager_core::view::{View, ViewEvent, ViewPatch};
use lxc_dev_manager_core::watch::{Subscription, Watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Stage, dev_instance, env};

/// A subscriber that applies patches to a view.
pub(super) struct Seen {
    pub(super) view: View,
    events: Subscription,
    pending: VecDeque<ViewEvent>,
    last: Option<u64>,
    finished: usize,
}

impl Seen {
    pub(super) fn of(watch: &Watch) -> Self {
        Self {
            view: View::default(),
            events: watch.subscribe(),
            pending: VecDeque::new(),
            last: None,
            finished: 0,
        }
    }

    /// Waits until the view meets a condition.
    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&Self) -> bool) {
        while !wanted(self) {
            if self.pending.is_empty() {
                let next = tokio::time::timeout(Duration::from_secs(10), self.events.next()).await;
                let next = next.unwrap_or_else(|_| panic!("never: {what}; {:#?}", self.view));
                self.pending.extend(next.unwrap());
            }
            let event = self.pending.pop_front().unwrap();
            if let Some(last) = self.last.replace(event.seq) {
                assert_eq!(event.seq, last + 1, "a gap");
            }
            self.finished += usize::from(matches!(event.patch, ViewPatch::Finished { .. }));
            self.view.apply(&event.patch);
        }
    }

    fn status(&self) -> Option<EnvStatus> {
        Some(self.view.projects.first()?.envs.first()?.status)
    }
}

#[tokio::test]
async fn view_follows_engine_operations_and_files() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let watch = Watch::start(stage.operations.clone(), &tasks, shutdown.clone());
    let mut seen = Seen::of(&watch);
    seen.until("the env runs", |seen| {
        seen.status() == Some(EnvStatus::Running)
    })
    .await;

    // An event of the engine.
    stage.fake.stop(&dev_instance(), true).await.unwrap();
    seen.until("it is stopped", |seen| {
        seen.status() == Some(EnvStatus::Stopped)
    })
    .await;

    // An operation of this process, with its outcome.
    stage
        .operations
        .start(&stage.project(), &env("dev"))
        .await
        .unwrap();
    seen.until("its end", |seen| seen.finished == 1).await;
    seen.until("it runs", |seen| seen.status() == Some(EnvStatus::Running))
        .await;

    // An error stays until it is dismissed.
    stage.fake.fail_next("stop");
    assert!(
        stage
            .operations
            .stop(&stage.project(), &env("dev"))
            .await
            .is_err()
    );
    let problem = |seen: &Seen| seen.view.projects[0].envs[0].problem.clone();
    seen.until("the problem", |seen| problem(seen).is_some())
        .await;
    watch.dismiss(stage.project().env_ref(&env("dev"))).await;
    seen.until("no problem", |seen| problem(seen).is_none())
        .await;

    // The user edits the file.
    let text = format!("{}  other: {{image: x}}\n", stage.file());
    std::fs::write(stage.directory().join("containers.yaml"), text).unwrap();
    seen.until("the new entry", |seen| {
        seen.view.projects[0].envs.len() == 2
    })
    .await;

    // A late subscriber has the same view.
    let mut late = Seen::of(&watch);
    late.until("the same view", |late| late.view == seen.view)
        .await;

    shutdown.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(5), tasks.wait())
        .await
        .unwrap();
}

/// A stage with a running env and a subscriber.
async fn watched() -> (Stage, Seen, Watch) {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let watch = Watch::start(stage.operations.clone(), &tasks, shutdown);
    let mut seen = Seen::of(&watch);
    seen.until("the env runs", |seen| {
        seen.status() == Some(EnvStatus::Running)
    })
    .await;
    (stage, seen, watch)
}

fn envs(seen: &Seen) -> Option<usize> {
    Some(seen.view.projects.first()?.envs.len())
}

#[tokio::test]
async fn follows_file_after_it_was_replaced() {
    let (stage, mut seen, _watch) = watched().await;
    let file = stage.directory().join("containers.yaml");
    let text = stage.file();
    std::fs::remove_file(&file).unwrap();
    seen.until("it is gone", |seen| seen.view.projects.is_empty())
        .await;
    // As editors do.
    let aside = stage.directory().join("containers.yaml~");
    std::fs::write(&aside, &text).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    seen.until("it is back", |seen| envs(seen) == Some(1)).await;
    std::fs::write(&file, format!("{text}  other: {{image: x}}\n")).unwrap();
    seen.until("what was added since", |seen| envs(seen) == Some(2))
        .await;
}

#[tokio::test]
async fn follows_directory_after_it_was_replaced() {
    let (stage, mut seen, _watch) = watched().await;
    let text = stage.file();
    std::fs::remove_dir_all(stage.directory()).unwrap();
    seen.until("it is gone", |seen| seen.view.projects.is_empty())
        .await;
    // The new directory may have the same inode number.
    std::fs::create_dir(stage.directory()).unwrap();
    let file = stage.directory().join("containers.yaml");
    std::fs::write(&file, &text).unwrap();
    seen.until("it is back", |seen| envs(seen) == Some(1)).await;
    std::fs::write(&file, format!("{text}  other: {{image: x}}\n")).unwrap();
    seen.until("what was added since", |seen| envs(seen) == Some(2))
        .await;
}
