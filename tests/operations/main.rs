//! The use cases over the fake backend: faults before each call, and interrupted operations.

mod clocks;
mod clone;
mod create;
mod delete_project;
mod forwards;
mod interrupted;
mod lost_answers;
mod preferences;
mod publish;
mod recorded;
mod recovery;
mod remotes;
mod rename;
mod restore;
mod state_disk;
mod two_engines;
mod watch;

use lxc_dev_manager_core::backend::Instances;
use std::path::PathBuf;
use std::sync::Arc;

use lxc_dev_manager_core::backend::fake::{Fake, IMAGE, Pool};
use lxc_dev_manager_core::backend::{Backend, ExecSpec, capture};
use lxc_dev_manager_core::clock::SystemClock;
use lxc_dev_manager_core::event::EventKind;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::model::{EnvName, InstanceName};
use lxc_dev_manager_core::operations::{CreateRequest, Created, Operations};
use lxc_dev_manager_core::project::{Project, create_file};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// A project, the use cases, and the fake backend.
struct Stage {
    root: tempfile::TempDir,
    fake: Arc<Fake>,
    operations: Arc<Operations>,
}

impl Stage {
    fn new(pool: Pool) -> Self {
        Self::with_second_engine(pool, None)
    }

    fn with_second_engine(pool: Pool, second: Option<Arc<Fake>>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::new(pool));
        let operations = operations(&root, [Some(fake.clone()), second].into_iter().flatten());
        let directory = root.path().join("web");
        std::fs::create_dir(&directory).unwrap();
        create_file(&directory, &"web".parse().unwrap(), None).unwrap();
        Self {
            root,
            fake,
            operations,
        }
    }

    /// Another process with the same home and engine.
    fn other_process(&self) -> Arc<Operations> {
        operations(&self.root, [self.fake.clone()])
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join("web")
    }

    fn project(&self) -> Project {
        Project::open(&self.directory()).unwrap()
    }

    fn file(&self) -> String {
        std::fs::read_to_string(self.directory().join("containers.yaml")).unwrap()
    }

    fn journals(&self) -> usize {
        let directory = self.root.path().join("home/journal");
        std::fs::read_dir(directory).map_or(0, Iterator::count)
    }

    async fn create(&self, name: &str) -> lxc_dev_manager_core::Result<Created> {
        let mut project = self.project();
        self.operations
            .create(&mut project, request(name), &CancellationToken::new())
            .await
    }

    async fn instances(&self) -> Vec<String> {
        let found = self.fake.instances().await.unwrap();
        found
            .into_iter()
            .map(|instance| instance.name.to_string())
            .collect()
    }

    async fn write(&self, text: &str) {
        let spec = ExecSpec::new(["tee", "/note"]);
        let output = capture(self.fake.as_ref(), &dev_instance(), &spec, text.into()).await;
        assert_eq!(output.unwrap().code, 0);
    }

    async fn read(&self) -> String {
        let spec = ExecSpec::new(["cat", "/note"]);
        let output = capture(self.fake.as_ref(), &dev_instance(), &spec, Vec::new()).await;
        String::from_utf8(output.unwrap().stdout).unwrap()
    }
}

fn operations(
    root: &tempfile::TempDir,
    fakes: impl IntoIterator<Item = Arc<Fake>>,
) -> Arc<Operations> {
    let home = Home::new(root.path().join("home"), None, None);
    let backends = fakes.into_iter().map(|fake| fake as Arc<dyn Backend>);
    Arc::new(Operations::new(
        backends.collect(),
        home,
        Arc::new(SystemClock),
    ))
}

fn request(name: &str) -> CreateRequest {
    CreateRequest {
        image: Some(IMAGE.parse().unwrap()),
        ..CreateRequest::new(env(name))
    }
}

fn env(name: &str) -> EnvName {
    EnvName::parse(name).unwrap()
}

fn dev_instance() -> InstanceName {
    InstanceName::parse("web-dev").unwrap()
}

/// Notices published so far.
fn notices(events: &mut broadcast::Receiver<lxc_dev_manager_core::event::Event>) -> Vec<String> {
    let mut texts = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let EventKind::Notice(text) = event.kind {
            texts.push(text);
        }
    }
    texts
}
