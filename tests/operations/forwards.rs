//! Forwards across renames, removals and handovers.

use std::net::{Shutdown, TcpListener};
use std::time::Duration;

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::forward::{Forwarder, Scope, Session, remember_focus};
use lxc_dev_manager_core::model::{GuestPort, PortState};
use lxc_dev_manager_core::operations::Operations;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::{EnvRef, ForwardView};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Stage, env};

const TIMEOUT: Duration = Duration::from_secs(20);

/// A process with a forward session.
struct ForwardSession {
    session: Session,
    end: CancellationToken,
    running: JoinHandle<Result<()>>,
}

impl ForwardSession {
    fn begin(stage: &Stage, scope: Scope) -> Self {
        let end = CancellationToken::new();
        let operations = stage.other_process();
        let (session, running) = Session::new(operations, vec![scope], end.clone());
        let running = tokio::spawn(running);
        Self {
            session,
            end,
            running,
        }
    }

    /// Waits until an env is forwarded and has a stable port.
    async fn forwarded(&self, env: &EnvRef) -> ForwardView {
        let mut changes = self.session.changes();
        let matches = |forward: &ForwardView| {
            forward.env == *env && forward.state == PortState::Forwarded && forward.stable.is_some()
        };
        let shown = changes.wait_for(|all| all.iter().any(matches));
        let shown = tokio::time::timeout(TIMEOUT, shown).await;
        let shown = shown.unwrap_or_else(|_| panic!("{env:?} is never forwarded"));
        let shown = shown.unwrap().clone();
        shown.into_iter().find(matches).unwrap()
    }

    async fn forwarder(&self) -> Forwarder {
        let forwarder = tokio::time::timeout(TIMEOUT, self.session.forwarder()).await;
        forwarder.unwrap().unwrap()
    }

    async fn end(self) {
        self.end.cancel();
        let ended = tokio::time::timeout(TIMEOUT, self.running).await;
        ended.unwrap().unwrap().unwrap();
    }
}

/// Two envs that share a free port; `other` is the first.
async fn stage() -> (Stage, GuestPort) {
    let stage = Stage::new(Pool::Btrfs);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let text = format!("project: web\ndefaults: {{ports: [{port}], wake: true}}\ncontainers:\n");
    std::fs::write(stage.directory().join("containers.yaml"), text).unwrap();
    stage
        .operations
        .trust()
        .add(&stage.project(), false)
        .unwrap();
    for name in ["other", "dev"] {
        stage.create(name).await.unwrap();
    }
    (stage, GuestPort::new(port).unwrap())
}

fn env_ref(stage: &Stage, name: &str) -> EnvRef {
    stage.project().env_ref(&env(name))
}

fn scope(stage: &Stage, name: &str) -> Scope {
    let env = env_ref(stage, name);
    Scope::Env { env }
}

async fn rename(stage: &Stage, old: &str, new: &str) {
    let mut project = stage.project();
    let operations = &stage.operations;
    let renamed = operations.rename(&mut project, &env(old), &env(new)).await;
    renamed.unwrap();
}

fn is_asleep(operations: &Operations, project: &Project, name: &str) -> bool {
    !operations.may_wake(project, &env(name))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rename_without_forwarder_keeps_focus_and_stable_port() {
    let (stage, port) = stage().await;
    let forwarder = ForwardSession::begin(&stage, scope(&stage, "dev"));
    let before = forwarder.forwarded(&env_ref(&stage, "dev")).await;
    forwarder.end().await;
    remember_focus(stage.operations.home(), &env_ref(&stage, "dev"), &[port]).unwrap();
    rename(&stage, "dev", "main").await;
    let path = stage.project().directory().display().to_string();
    let forwarder = ForwardSession::begin(&stage, Scope::Project { path });
    let after = forwarder.forwarded(&env_ref(&stage, "main")).await;
    assert_eq!(after.stable, before.stable);
    assert!(after.focused, "{after:?}");
    forwarder.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lease_follows_rename_and_takeover() {
    let (stage, _) = stage().await;
    let holder = ForwardSession::begin(&stage, scope(&stage, "other"));
    assert!(matches!(holder.forwarder().await, Forwarder::Local(_)));
    let joined = ForwardSession::begin(&stage, scope(&stage, "dev"));
    let before = joined.forwarded(&env_ref(&stage, "dev")).await;
    assert!(matches!(joined.forwarder().await, Forwarder::Remote(_)));
    rename(&stage, "dev", "main").await;
    let main = env_ref(&stage, "main");
    assert_eq!(joined.forwarded(&main).await.stable, before.stable);
    assert_eq!(joined.session.scopes(), [Scope::Env { env: main.clone() }]);
    holder.end().await;
    let mut forwarders = joined.session.forwarders();
    let holds = forwarders.wait_for(|forwarder| matches!(forwarder, Some(Forwarder::Local(_))));
    tokio::time::timeout(TIMEOUT, holds).await.unwrap().unwrap();
    let Forwarder::Local(forwarding) = joined.forwarder().await else {
        panic!("the lease has not taken over");
    };
    let mut changes = forwarding.changes();
    let is_main = |all: &Vec<ForwardView>| all.iter().any(|forward| forward.env == main);
    let seen = tokio::time::timeout(TIMEOUT, changes.wait_for(is_main)).await;
    drop(seen.unwrap().unwrap());
    joined.end().await;
}

#[tokio::test]
async fn sleep_mark_survives_rename_and_undo() {
    let (stage, _) = stage().await;
    let operations = &stage.operations;
    operations
        .stop(&stage.project(), &env("dev"))
        .await
        .unwrap();
    assert!(is_asleep(operations, &stage.project(), "dev"));
    rename(&stage, "dev", "main").await;
    assert!(is_asleep(operations, &stage.project(), "main"));
    let mut project = stage.project();
    assert!(operations.remove(&mut project, &env("main")).await.unwrap());
    operations.undo(&mut project, None).await.unwrap();
    assert!(is_asleep(operations, &stage.project(), "main"));
    // A new env of that name has no mark.
    operations.remove(&mut project, &env("main")).await.unwrap();
    stage.create("main").await.unwrap();
    assert!(!is_asleep(operations, &stage.project(), "main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn undo_of_removal_restores_focus_and_stable_port() {
    let (stage, port) = stage().await;
    let forwarder = ForwardSession::begin(&stage, scope(&stage, "dev"));
    let before = forwarder.forwarded(&env_ref(&stage, "dev")).await;
    forwarder.end().await;
    remember_focus(stage.operations.home(), &env_ref(&stage, "dev"), &[port]).unwrap();
    let mut project = stage.project();
    let operations = &stage.operations;
    assert!(operations.remove(&mut project, &env("dev")).await.unwrap());
    operations.undo(&mut project, None).await.unwrap();
    let path = project.directory().display().to_string();
    let forwarder = ForwardSession::begin(&stage, Scope::Project { path });
    let after = forwarder.forwarded(&env_ref(&stage, "dev")).await;
    assert_eq!((after.stable, after.focused), (before.stable, true));
    forwarder.end().await;
}

/// Starts an echo service in an env.
fn start_echo(stage: &Stage, name: &str, port: GuestPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let instance = stage.project().instance(&env(name)).unwrap();
    stage.fake.listen(&instance, port, Some(address)).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut from = client.try_clone().unwrap();
                let mut to = client;
                // Fails if the peer disconnects.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
}

/// Checks that a connection echoes.
async fn echo(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut received = [0; 5];
    stream.write_all(b"\x01hear").await?;
    let read = tokio::time::timeout(TIMEOUT, stream.read_exact(&mut received));
    read.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
    assert_eq!(&received, b"\x01hear");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handover_refuses_and_cuts_no_connection() {
    let (stage, port) = stage().await;
    start_echo(&stage, "dev", port);
    let first = ForwardSession::begin(&stage, scope(&stage, "dev"));
    first.forwarded(&env_ref(&stage, "dev")).await;
    let second = ForwardSession::begin(&stage, scope(&stage, "dev"));
    assert!(matches!(second.forwarder().await, Forwarder::Remote(_)));
    second.forwarded(&env_ref(&stage, "dev")).await;
    let address = (std::net::Ipv4Addr::LOCALHOST, port.get());
    let mut session = TcpStream::connect(address).await.unwrap();
    echo(&mut session).await.unwrap();

    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let client = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !stopped.is_cancelled() {
            let begun = std::time::Instant::now();
            let mut stream = TcpStream::connect(address).await?;
            echo(&mut stream).await?;
            longest = longest.max(begun.elapsed());
        }
        std::io::Result::Ok(longest)
    });
    let mut left = first.session.draining();
    let mut forwarders = second.session.forwarders();
    first.end.cancel();
    let holds = forwarders.wait_for(|forwarder| matches!(forwarder, Some(Forwarder::Local(_))));
    drop(tokio::time::timeout(TIMEOUT, holds).await.unwrap().unwrap());
    second.forwarded(&env_ref(&stage, "dev")).await;
    // The first process drains its connections while the second one accepts new ones.
    let waits = left.wait_for(|left| *left > 0);
    drop(tokio::time::timeout(TIMEOUT, waits).await.unwrap().unwrap());
    echo(&mut session).await.unwrap();
    stop.cancel();
    let longest = client.await.unwrap().unwrap();
    println!("longest connection during the handover: {longest:?}");
    drop(session);
    first.end().await;
    let mut after = TcpStream::connect(address).await.unwrap();
    echo(&mut after).await.unwrap();
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sole_forwarder_ends_without_draining() {
    let (stage, port) = stage().await;
    start_echo(&stage, "dev", port);
    let only = ForwardSession::begin(&stage, scope(&stage, "dev"));
    only.forwarded(&env_ref(&stage, "dev")).await;
    let address = (std::net::Ipv4Addr::LOCALHOST, port.get());
    let mut session = TcpStream::connect(address).await.unwrap();
    echo(&mut session).await.unwrap();
    let left = only.session.draining();
    only.end().await;
    assert_eq!(*left.borrow(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}
