//! What forwards remember of envs, over changes that happen while somebody forwards and while nobody does.

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

/// How long something may take that is about to happen.
const SOON: Duration = Duration::from_secs(20);

/// A process that wants ports forwarded.
struct ForwardSession {
    session: Session,
    end: CancellationToken,
    running: JoinHandle<Result<()>>,
}

impl ForwardSession {
    fn begin(stage: &Stage, scope: Scope) -> Self {
        let end = CancellationToken::new();
        let room = stage.other_process();
        let (session, running) = Session::new(room, vec![scope], end.clone());
        let running = tokio::spawn(running);
        Self {
            session,
            end,
            running,
        }
    }

    /// Until an env is forwarded, with a port of its own.
    async fn shows(&self, env: &EnvRef) -> ForwardView {
        let mut changes = self.session.changes();
        let is_it = |forward: &ForwardView| {
            forward.env == *env && forward.state == PortState::Forwarded && forward.stable.is_some()
        };
        let shown = changes.wait_for(|all| all.iter().any(is_it));
        let shown = tokio::time::timeout(SOON, shown).await;
        let shown = shown.unwrap_or_else(|_| panic!("{env:?} is never forwarded"));
        let shown = shown.unwrap().clone();
        shown.into_iter().find(is_it).unwrap()
    }

    /// Until it sits with who forwards, or forwards itself.
    async fn forwarder(&self) -> Forwarder {
        let forwarder = tokio::time::timeout(SOON, self.session.forwarder()).await;
        forwarder.unwrap().unwrap()
    }

    async fn end(self) {
        self.end.cancel();
        let ended = tokio::time::timeout(SOON, self.running).await;
        ended.unwrap().unwrap().unwrap();
    }
}

/// Two envs that share a port which is free, `other` the first of them.
async fn stage() -> (Stage, GuestPort) {
    let stage = Stage::new(Pool::Btrfs);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    let text = format!("project: web\ndefaults: {{ports: [{port}], wake: true}}\ncontainers:\n");
    std::fs::write(stage.directory().join("containers.yaml"), text).unwrap();
    for name in ["other", "dev"] {
        stage.create(name).await.unwrap();
    }
    (stage, GuestPort::new(port).unwrap())
}

fn named(stage: &Stage, name: &str) -> EnvRef {
    stage.project().env_ref(&env(name))
}

fn of(stage: &Stage, name: &str) -> Scope {
    let env = named(stage, name);
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
async fn a_rename_while_nobody_forwards_keeps_focus_and_own_port() {
    let (stage, port) = stage().await;
    let forwarder = ForwardSession::begin(&stage, of(&stage, "dev"));
    let before = forwarder.shows(&named(&stage, "dev")).await;
    forwarder.end().await;
    remember_focus(stage.operations.home(), &named(&stage, "dev"), &[port]).unwrap();
    rename(&stage, "dev", "main").await;
    let path = stage.project().directory().display().to_string();
    let forwarder = ForwardSession::begin(&stage, Scope::Project { path });
    let after = forwarder.shows(&named(&stage, "main")).await;
    assert_eq!(after.stable, before.stable);
    assert!(after.focused, "{after:?}");
    forwarder.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_lease_follows_a_renamed_env_when_it_takes_over() {
    let (stage, _) = stage().await;
    let holder = ForwardSession::begin(&stage, of(&stage, "other"));
    assert!(matches!(holder.forwarder().await, Forwarder::Local(_)));
    let joined = ForwardSession::begin(&stage, of(&stage, "dev"));
    let before = joined.shows(&named(&stage, "dev")).await;
    assert!(matches!(joined.forwarder().await, Forwarder::Remote(_)));
    rename(&stage, "dev", "main").await;
    let main = named(&stage, "main");
    assert_eq!(joined.shows(&main).await.stable, before.stable);
    assert_eq!(joined.session.scopes(), [Scope::Env { env: main.clone() }]);
    holder.end().await;
    let mut forwarders = joined.session.forwarders();
    let holds = forwarders.wait_for(|forwarder| matches!(forwarder, Some(Forwarder::Local(_))));
    tokio::time::timeout(SOON, holds).await.unwrap().unwrap();
    // Told by itself from now on.
    let Forwarder::Local(forwarding) = joined.forwarder().await else {
        panic!("it has taken over");
    };
    let mut changes = forwarding.changes();
    let is_main = |all: &Vec<ForwardView>| all.iter().any(|forward| forward.env == main);
    let seen = tokio::time::timeout(SOON, changes.wait_for(is_main)).await;
    drop(seen.unwrap().unwrap());
    joined.end().await;
}

#[tokio::test]
async fn an_env_that_was_stopped_on_purpose_sleeps_under_its_new_name_and_after_an_undo() {
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
    // Another one of that name has never been stopped.
    operations.remove(&mut project, &env("main")).await.unwrap();
    stage.create("main").await.unwrap();
    assert!(!is_asleep(operations, &stage.project(), "main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_env_has_focus_and_own_port_again_once_it_is_back() {
    let (stage, port) = stage().await;
    let forwarder = ForwardSession::begin(&stage, of(&stage, "dev"));
    let before = forwarder.shows(&named(&stage, "dev")).await;
    forwarder.end().await;
    remember_focus(stage.operations.home(), &named(&stage, "dev"), &[port]).unwrap();
    let mut project = stage.project();
    let operations = &stage.operations;
    assert!(operations.remove(&mut project, &env("dev")).await.unwrap());
    operations.undo(&mut project, None).await.unwrap();
    let path = project.directory().display().to_string();
    let forwarder = ForwardSession::begin(&stage, Scope::Project { path });
    let after = forwarder.shows(&named(&stage, "dev")).await;
    assert_eq!((after.stable, after.focused), (before.stable, true));
    forwarder.end().await;
}

/// A service in an env that says every byte again, for as long as the test lasts.
fn echo_in(stage: &Stage, name: &str, port: GuestPort) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let instance = stage.project().instance(&env(name)).unwrap();
    stage.fake.listen(&instance, port, Some(address)).unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut from = client.try_clone().unwrap();
                let mut to = client;
                // Whichever side ends it.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    });
}

/// Says something, and hears it again.
async fn hears(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut heard = [0; 5];
    stream.write_all(b"\x01hear").await?;
    let read = tokio::time::timeout(SOON, stream.read_exact(&mut heard));
    read.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
    assert_eq!(&heard, b"\x01hear");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_is_refused_or_cut_when_who_forwards_ends_and_another_goes_on() {
    let (stage, port) = stage().await;
    echo_in(&stage, "dev", port);
    let first = ForwardSession::begin(&stage, of(&stage, "dev"));
    first.shows(&named(&stage, "dev")).await;
    let second = ForwardSession::begin(&stage, of(&stage, "dev"));
    assert!(matches!(second.forwarder().await, Forwarder::Remote(_)));
    second.shows(&named(&stage, "dev")).await;
    let address = (std::net::Ipv4Addr::LOCALHOST, port.get());
    let mut session = TcpStream::connect(address).await.unwrap();
    hears(&mut session).await.unwrap();

    // Somebody comes again and again, all the while.
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let visitor = tokio::spawn(async move {
        let mut longest = Duration::ZERO;
        while !stopped.is_cancelled() {
            let begun = std::time::Instant::now();
            let mut stream = TcpStream::connect(address).await?;
            hears(&mut stream).await?;
            longest = longest.max(begun.elapsed());
        }
        std::io::Result::Ok(longest)
    });
    let mut left = first.session.left();
    let mut forwarders = second.session.forwarders();
    first.end.cancel();
    let holds = forwarders.wait_for(|forwarder| matches!(forwarder, Some(Forwarder::Local(_))));
    drop(tokio::time::timeout(SOON, holds).await.unwrap().unwrap());
    second.shows(&named(&stage, "dev")).await;
    // Both are there at once: the one for its connections, the other for those that come.
    let waits = left.wait_for(|left| *left > 0);
    drop(tokio::time::timeout(SOON, waits).await.unwrap().unwrap());
    hears(&mut session).await.unwrap();
    stop.cancel();
    let longest = visitor.await.unwrap().unwrap();
    println!("the longest that a connection took while the ports passed over: {longest:?}");
    drop(session);
    first.end().await;
    let mut after = TcpStream::connect(address).await.unwrap();
    hears(&mut after).await.unwrap();
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_forwards_for_nobody_else_ends_at_once() {
    let (stage, port) = stage().await;
    echo_in(&stage, "dev", port);
    let only = ForwardSession::begin(&stage, of(&stage, "dev"));
    only.shows(&named(&stage, "dev")).await;
    let address = (std::net::Ipv4Addr::LOCALHOST, port.get());
    let mut session = TcpStream::connect(address).await.unwrap();
    hears(&mut session).await.unwrap();
    let left = only.session.left();
    only.end().await;
    assert_eq!(*left.borrow(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}
