//! Engines that a project names, beside the ones that are asked where nothing says which.

use std::sync::Arc;

use lxc_dev_manager_core::backend::fake::{Fake, Pool};
use lxc_dev_manager_core::backend::{Backend, Remotes};
use lxc_dev_manager_core::clock::SystemClock;
use lxc_dev_manager_core::engine::Engine;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::model::{EngineId, RemoteName};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use super::{Stage, dev_instance, env, notices, request};

/// One remote, `lab`.
struct Lab(Arc<Fake>);

impl Remotes for Lab {
    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>> {
        match name.as_str() {
            "lab" => Ok(self.0.clone()),
            other => Err(Error::new(
                ErrorKind::NotFound,
                format!("no remote is called `{other}`"),
            )),
        }
    }

    fn at(&self, id: &EngineId) -> Option<Arc<dyn Backend>> {
        (self.0.id() == id).then(|| self.0.clone() as Arc<dyn Backend>)
    }
}

/// The room of a stage with the remote.
fn room(stage: &Stage, lab: &Arc<Fake>) -> Arc<Engine> {
    let home = Home::new(stage.root.path().join("home"), None, None);
    let backends: Vec<Arc<dyn Backend>> = vec![stage.fake.clone()];
    let engine = Engine::new(backends, home, Arc::new(SystemClock));
    Arc::new(engine.with_remotes(Arc::new(Lab(lab.clone()))))
}

fn lab() -> RemoteName {
    RemoteName::parse("lab").unwrap()
}

#[tokio::test]
async fn a_named_remote_is_asked_alone_and_told_of_on_the_same_bus() {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::new(Pool::Btrfs)));
    let here = room(&stage, &remote);
    let mut events = here.bus().subscribe();
    let there = here.at_remote(&lab()).unwrap();
    let cancel = CancellationToken::new();
    let mut project = stage.project();
    there
        .create(&mut project, request("dev"), &cancel)
        .await
        .unwrap();
    assert!(stage.instances().await.is_empty());
    assert!(remote.instance(&dev_instance()).await.is_ok());
    assert!(events.try_recv().is_ok());
    // Here it isn't known, there it is.
    let missing = here.stop(&project, &env("dev")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    there.stop(&project, &env("dev")).await.unwrap();
    let nope = RemoteName::parse("nope").unwrap();
    let unknown = here.at_remote(&nope).map(drop).unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn what_was_cut_off_at_a_remote_is_mended_from_here_too() {
    let (stage, remote) = (Stage::new(Pool::Btrfs), Arc::new(Fake::new(Pool::Btrfs)));
    let here = room(&stage, &remote);
    let there = here.at_remote(&lab()).unwrap();
    let cancel = CancellationToken::new();
    for polls in 1.. {
        let mut project = stage.project();
        let made = there.create(&mut project, request("dev"), &cancel);
        let ended = super::cut_off::cut_off(made, polls).await;
        assert!(!ended, "it ended before it was cut off with a journal");
        if stage.journals() == 1 {
            break;
        }
    }
    let mut events = here.bus().subscribe();
    here.recover().await.unwrap();
    assert_eq!(stage.journals(), 0, "{:?}", notices(&mut events));
    assert!(remote.instances().await.unwrap().is_empty());
}
