//! Remotes that projects name, next to the default engines.

use lxc_dev_manager_core::backend::Instances;
use std::sync::Arc;
use std::time::Duration;

use lxc_dev_manager_core::backend::fake::{Fake, Pool};
use lxc_dev_manager_core::backend::{Backend, Remotes};
use lxc_dev_manager_core::clock::SystemClock;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::model::{EngineId, EnvStatus, InstanceName, RemoteName};
use lxc_dev_manager_core::operations::Operations;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::watch::Watch;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::watch::Seen;
use super::{Stage, dev_instance, env, notices, request};

/// One remote, `lab`.
struct Lab(Arc<Fake>);

impl Remotes for Lab {
    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>> {
        match name.as_str() {
            "lab" => Ok(self.0.clone()),
            other => Err(Error::new(
                ErrorKind::NotFound,
                format!("unknown remote `{other}`"),
            )),
        }
    }

    fn at(&self, id: &EngineId) -> Option<Arc<dyn Backend>> {
        (self.0.id() == id).then(|| self.0.clone() as Arc<dyn Backend>)
    }
}

/// The use cases of a stage with a remote.
fn operations(stage: &Stage, lab: &Arc<Fake>) -> Arc<Operations> {
    let home = Home::new(stage.root.path().join("home"), None, None);
    let backends: Vec<Arc<dyn Backend>> = vec![stage.fake.clone()];
    let operations = Operations::new(backends, home, Arc::new(SystemClock));
    Arc::new(operations.with_remotes(Arc::new(Lab(lab.clone()))))
}

fn lab() -> RemoteName {
    RemoteName::parse("lab").unwrap()
}

#[tokio::test]
async fn remote_is_used_alone_with_the_same_bus() {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::new(Pool::Btrfs)));
    let here = operations(&stage, &remote);
    let mut events = here.bus().subscribe();
    let there = here.for_remote(&lab()).unwrap();
    let cancel = CancellationToken::new();
    let mut project = stage.project();
    there
        .create(&mut project, request("dev"), &cancel)
        .await
        .unwrap();
    assert!(stage.instances().await.is_empty());
    assert!(remote.instance(&dev_instance()).await.is_ok());
    assert!(events.try_recv().is_ok());
    let missing = here.stop(&project, &env("dev")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    there.stop(&project, &env("dev")).await.unwrap();
    let nope = RemoteName::parse("nope").unwrap();
    let unknown = here.for_remote(&nope).map(drop).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn recovers_interrupted_operation_of_remote() {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::new(Pool::Btrfs)));
    let here = operations(&stage, &remote);
    let there = here.for_remote(&lab()).unwrap();
    let cancel = CancellationToken::new();
    for polls in 1.. {
        let mut project = stage.project();
        let made = there.create(&mut project, request("dev"), &cancel);
        let ended = super::interrupted::interrupt(made, polls).await;
        assert!(!ended, "the create ended before it had a journal");
        if stage.journals() == 1 {
            break;
        }
    }
    let mut events = here.bus().subscribe();
    here.recover().await.unwrap();
    assert_eq!(stage.journals(), 0, "{:?}", notices(&mut events));
    assert!(remote.instances().await.unwrap().is_empty());
}

/// Another project, which names a remote.
fn other(stage: &Stage, remote: &str) -> std::path::PathBuf {
    let directory = stage.root.path().join("other");
    std::fs::create_dir_all(&directory).unwrap();
    let text = format!("project: other\nremote: {remote}\ncontainers: {{dev: {{image: x}}}}\n");
    std::fs::write(directory.join("containers.yaml"), text).unwrap();
    directory
}

#[tokio::test]
async fn overview_includes_all_engines() {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::new(Pool::Btrfs)));
    let here = operations(&stage, &remote);
    let directories = [stage.directory(), other(&stage, "lab")];
    let cancel = CancellationToken::new();
    stage.create("dev").await.unwrap();
    let mut project = Project::open(&directories[1]).unwrap();
    let refused = here.for_project(&project).err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Untrusted));
    here.trust().add(&project, false).unwrap();
    let there = here.for_project(&project).unwrap();
    there
        .create(&mut project, request("dev"), &cancel)
        .await
        .unwrap();
    for operations in [&here, &there] {
        let view = operations.overview(&directories).await.unwrap();
        assert_eq!(view.engines.len(), 2);
        for project in &view.projects {
            assert_eq!(project.envs[0].status, EnvStatus::Running, "{project:?}");
        }
    }
    remote.set_unreachable(true);
    let view = here.overview(&directories).await.unwrap();
    let status = |name: &str| {
        let project = view.projects.iter().find(|found| found.label() == name);
        project.unwrap().envs[0].status
    };
    assert_eq!(status("other"), EnvStatus::Unreachable);
    assert_eq!(status("web"), EnvStatus::Running);
}

#[tokio::test]
async fn unknown_remote_affects_only_its_project() {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::new(Pool::Btrfs)));
    let here = operations(&stage, &remote);
    stage.create("dev").await.unwrap();
    let directories = [stage.directory(), other(&stage, "nope")];
    let project = Project::open(&directories[1]).unwrap();
    here.trust().add(&project, false).unwrap();
    let view = here.overview(&directories).await.unwrap();
    let [other, web] = view.projects.as_slice() else {
        panic!("{view:?}");
    };
    let problem = other.problem.as_ref().unwrap();
    assert!(problem.message.contains("`nope`"), "{problem:?}");
    assert_eq!(other.envs[0].status, EnvStatus::Unreachable);
    assert_eq!(web.envs[0].status, EnvStatus::Running);
    let project = Project::open(&directories[1]).unwrap();
    let refused = here.for_project(&project).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

/// A watch with a subscriber.
struct Watcher {
    seen: Seen,
    _watch: Watch,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Watcher {
    async fn of(operations: &Arc<Operations>) -> Self {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let watch = Watch::start(operations.clone(), &tasks, shutdown.clone());
        Self {
            seen: Seen::of(&watch),
            _watch: watch,
            tasks,
            shutdown,
        }
    }

    /// Waits for the status of a project's first env.
    async fn until(&mut self, project: &str, wanted: EnvStatus) {
        let matches = |seen: &Seen| status(seen, project) == Some(wanted);
        self.seen
            .until(&format!("{project} is {wanted:?}"), matches)
            .await;
    }
}

fn status(seen: &Seen, name: &str) -> Option<EnvStatus> {
    let mut projects = seen.view.projects.iter();
    let project = projects.find(|found| found.label() == name)?;
    Some(project.envs.first()?.status)
}

/// An env on a remote and an env on this machine.
async fn both() -> (Stage, Arc<Fake>, Arc<Operations>) {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::remote(Pool::Btrfs)));
    let here = operations(&stage, &remote);
    stage.create("dev").await.unwrap();
    let mut project = Project::open(&other(&stage, "lab")).unwrap();
    here.trust().add(&project, false).unwrap();
    let there = here.for_project(&project).unwrap();
    let cancel = CancellationToken::new();
    let made = there.create(&mut project, request("dev"), &cancel).await;
    made.unwrap();
    (stage, remote, here)
}

#[tokio::test]
async fn view_follows_remote() {
    let (_stage, remote, here) = both().await;
    let mut watcher = Watcher::of(&here).await;
    watcher.until("other", EnvStatus::Running).await;
    let name = InstanceName::parse("other-dev").unwrap();
    remote.stop(&name, true).await.unwrap();
    watcher.until("other", EnvStatus::Stopped).await;
}

#[tokio::test]
async fn silent_remote_does_not_delay_the_view() {
    let (_stage, remote, here) = both().await;
    remote.set_silent(true);
    let mut watcher = Watcher::of(&here).await;
    watcher.until("web", EnvStatus::Running).await;
    assert_eq!(status(&watcher.seen, "other"), Some(EnvStatus::Unreachable));
    remote.set_silent(false);
    watcher.until("other", EnvStatus::Running).await;
    // Nor the end of the watch.
    remote.set_silent(true);
    watcher.shutdown.cancel();
    watcher.tasks.close();
    let ended = tokio::time::timeout(Duration::from_secs(5), watcher.tasks.wait());
    ended.await.unwrap();
}

#[tokio::test]
async fn queries_remote_as_soon_as_it_is_reachable() {
    let (_stage, remote, here) = both().await;
    remote.set_unreachable(true);
    let mut watcher = Watcher::of(&here).await;
    let is_unreachable = |seen: &Seen| {
        let mut engines = seen.view.engines.iter();
        let problem = engines.find_map(|engine| engine.problem.clone());
        problem.is_some_and(|problem| !problem.message.contains("yet"))
    };
    watcher.seen.until("unreachable", is_unreachable).await;
    remote.set_unreachable(false);
    // Long before the retry interval ends.
    watcher.until("other", EnvStatus::Running).await;
}
