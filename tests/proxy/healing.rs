//! What becomes of forwards when envs, services and processes come and go.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;

use crate::stage::{Running, Stage, TIMEOUT, ask, request, until};

/// A project whose two envs have a service on one port, and the services.
fn two(engine: &TestEngine) -> Result<(Stage, [Running; 2])> {
    let stage = Stage::new(engine, &["a", "b"])?;
    let services = [
        stage.service("a", "0.0.0.0")?,
        stage.service("b", "0.0.0.0")?,
    ];
    Ok((stage, services))
}

/// A transfer that doesn't end by itself.
struct Transfer(TcpStream);

impl Transfer {
    fn begin(stage: &Stage, host: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", stage.port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /long HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
        let mut transfer = Self(stream);
        transfer.go_on()?;
        Ok(transfer)
    }

    /// More of it comes.
    fn go_on(&mut self) -> Result<()> {
        ensure!(self.0.read(&mut [0; 4096])? > 0);
        Ok(())
    }

    /// It breaks off, and says so.
    fn expect_reset(mut self) -> Result<()> {
        let ended = self.0.read_to_end(&mut Vec::new());
        let reset = ended.err().context("it ended as if it were complete")?;
        ensure!(
            reset.kind() == std::io::ErrorKind::ConnectionReset,
            "{reset}"
        );
        Ok(())
    }
}

/// The service ends and comes back, the env is stopped and started: the listener stays.
pub fn services_and_envs_come_back(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let mut service = stage.service("a", "0.0.0.0")?;
    let _proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    service.kill()?;
    // A person sees a page that looks again; a program is held until somebody listens.
    until("the service has gone", || Ok(stage.ask().is_err()))?;
    let page = request(stage.port, "localhost", "Accept: text/html\r\n")?;
    ensure!(
        page.starts_with("HTTP/1.1 503") && page.contains("http-equiv=\"refresh\""),
        "{page}"
    );
    let port = stage.port;
    let waiting = std::thread::spawn(move || ask(port, "localhost"));
    let mut service = stage.service("a", "0.0.0.0")?;
    ensure!(waiting.join().map_err(|_| anyhow::anyhow!("panicked"))?? == "a");
    stage.workspace.ok(&["down", "a"])?;
    service.kill()?;
    let page = request(stage.port, "localhost", "Accept: text/html\r\n")?;
    ensure!(
        page.contains("stopped") && page.contains("lxc-dev-manager up a"),
        "{page}"
    );
    // Who is held meanwhile gets an answer, of whatever kind: the new boot is no reason to break off.
    let held = std::thread::spawn(move || request(port, "localhost", ""));
    stage.workspace.ok(&["up", "a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let held = held.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    ensure!(held.starts_with("HTTP/1."), "{held}");
    until("it answers again", || Ok(stage.ask()? == "a"))
}

/// A restore in the middle of a transfer: the transfer ends, and does not hang; what comes after works.
pub fn a_restore_in_mid_transfer(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let _proxy = stage.proxy(&["a"])?;
    let transfer = Transfer::begin(&stage, "localhost")?;
    stage.workspace.ok(&["container", "reset", "a"])?;
    transfer.expect_reset()?;
    let _service = stage.service("a", "0.0.0.0")?;
    until("it answers again", || Ok(stage.ask()? == "a"))
}

/// Who forwards is killed: who has a lease takes over, and the ports answer again.
pub fn who_has_a_lease_takes_over(engine: &TestEngine) -> Result<()> {
    let (stage, _services) = two(engine)?;
    let mut first = stage.proxy(&["a"])?;
    let _second = stage.proxy(&["b"])?;
    until("both are forwarded", || {
        Ok(stage.ask()? == "b" && stage.ask_for("a")? == "a")
    })?;
    first.kill()?;
    until("it is taken over", || Ok(stage.ask()? == "b"))?;
    let listed = stage.workspace.ok(&["list", "--json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    let port = |index: usize| listed["envs"][index]["ports"][0].clone();
    ensure!(
        port(1)["state"] == "forwarded" && port(1)["focused"] == true,
        "{listed}"
    );
    ensure!(port(0)["state"] == "idle", "{listed}");
    Ok(())
}

/// Who forwards is asked to end while others have a lease: nobody is refused meanwhile, what is open goes on, and ends with
/// its env though another process forwards by then.
pub fn who_ends_hands_its_ports_over(engine: &TestEngine) -> Result<()> {
    let (stage, _services) = two(engine)?;
    let mut first = stage.proxy(&["a"])?;
    let _second = stage.proxy(&["b"])?;
    until("both are forwarded", || {
        Ok(stage.ask_for("a")? == "a" && stage.ask_for("b")? == "b")
    })?;
    let mut transfer = Transfer::begin(&stage, &stage.name("a"))?;
    let asking = Arc::new(AtomicBool::new(true));
    let (port, name, go_on) = (stage.port, stage.name("b"), asking.clone());
    let others = std::thread::spawn(move || -> Result<usize> {
        let mut answered = 0;
        while go_on.load(Ordering::Relaxed) {
            ensure!(ask(port, &name)? == "b");
            answered += 1;
        }
        Ok(answered)
    });
    first.signal("-INT")?;
    // The second one has no `a`: its part of the port goes with the first.
    until("it is handed over", || {
        let forwards = stage.forwards()?;
        let is_open = |forward: &&serde_json::Value| forward["state"] == "forwarded";
        Ok(forwards.iter().filter(is_open).count() == 1)
    })?;
    transfer.go_on()?;
    asking.store(false, Ordering::Relaxed);
    let answered = others.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    ensure!(answered > 0, "nobody was asked");
    ensure!(first.child.try_wait()?.is_none(), "it waits for nobody");
    stage.workspace.ok(&["down", "a"])?;
    transfer.expect_reset()?;
    until("it ends with its last connection", || {
        Ok(first.child.try_wait()?.is_some())
    })?;
    ensure!(stage.ask()? == "b");
    Ok(())
}

/// A stranger has the port: it is said who, and it is forwarded once it has been free for a while.
pub fn a_stranger_is_named_and_waited_for(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let stranger = TcpListener::bind(("127.0.0.1", stage.port))?;
    let mut proxy = stage.proxy(&["a"])?;
    let forwards = stage.forwards()?;
    let forward = forwards.first().context("no forward")?;
    ensure!(forward["state"] == "taken", "{forward}");
    let message = forward["problem"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(
        message.contains(&format!("(pid {})", std::process::id())),
        "{message}"
    );
    // It isn't renumbered, and its own port works.
    let own = u16::try_from(forward["stable"].as_u64().context("no port of its own")?)?;
    ensure!(ask(own, "localhost")? == "a");
    drop(stranger);
    // Asked for again and again, as a table does.
    until("it is forwarded", || {
        let forwards = stage.forwards()?;
        Ok(forwards
            .first()
            .is_some_and(|forward| forward["state"] == "forwarded"))
    })?;
    let line = proxy.line()?;
    ensure!(
        line.contains(&format!("http://127.0.0.1:{}/", stage.port)),
        "{line:?}"
    );
    ensure!(stage.ask()? == "a");
    Ok(())
}

/// A connection starts an env whose file says so, but not one that was stopped on purpose.
pub fn a_connection_wakes_an_env(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let path = stage.workspace.directory().join("containers.yaml");
    let text = std::fs::read_to_string(&path)?.replace("  a:\n", "  a:\n    wake: true\n");
    std::fs::write(&path, text)?;
    let _proxy = stage.proxy(&["a"])?;
    stage.workspace.ok(&["down", "a"])?;
    let page = request(stage.port, "localhost", "Accept: text/html\r\n")?;
    ensure!(page.contains("`a` is stopped"), "it woke: {page}");
    stage.workspace.ok(&["up", "a"])?;
    // Stopped by nobody who means it.
    stage
        .workspace
        .ok(&["exec", "-u", "root", "a", "--", "systemctl", "poweroff"])?;
    let stopped = || Ok(stage.workspace.ok(&["list"])?.contains("STOPPED"));
    until("it has stopped", stopped)?;
    // As a browser does whose page looks again.
    until("it runs", || {
        request(stage.port, "localhost", "Accept: text/html\r\n")?;
        Ok(stage.workspace.ok(&["list"])?.contains("RUNNING"))
    })
}

/// A process that is frozen for a while misses nothing.
pub fn a_frozen_forwarder_heals(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    proxy.signal("-STOP")?;
    stage.workspace.ok(&["restart", "a"])?;
    // A list asks it and isn't held up.
    ensure!(stage.workspace.ok(&["list"])?.contains("RUNNING"));
    proxy.signal("-CONT")?;
    let _service = stage.service("a", "0.0.0.0")?;
    until("it answers", || Ok(stage.ask()? == "a"))?;
    Ok(())
}

/// As often as bad clients come: far more than the pipes that are kept for the next who needs one.
const ROUNDS: usize = 40;

/// Clients of every bad kind come and go: no descriptor of who forwards is left behind.
pub fn no_descriptor_is_left(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let proxy = stage.proxy(&["a"])?;
    let directory = format!("/proc/{}/fd", proxy.child.id());
    let descriptors = || anyhow::Ok(std::fs::read_dir(&directory)?.count());
    for _ in 0..5 {
        abuse(&stage)?;
    }
    let open = || {
        let forwards = stage.forwards()?;
        anyhow::Ok(
            forwards
                .first()
                .and_then(|forward| forward["traffic"]["open"].as_u64()),
        )
    };
    until("all have ended", || Ok(open()? == Some(0)))?;
    let before = descriptors()?;
    for _ in 0..ROUNDS {
        abuse(&stage)?;
    }
    until("no descriptor is left", || {
        let now = descriptors()?;
        ensure!(now < before + ROUNDS, "{before} before, {now} after");
        Ok(true)
    })
}

/// Connections of every bad kind.
fn abuse(stage: &Stage) -> Result<()> {
    let connect = || TcpStream::connect(("127.0.0.1", stage.port));
    drop(connect()?);
    let silent = connect()?;
    silent.shutdown(std::net::Shutdown::Write)?;
    let mut rubbish = connect()?;
    rubbish.write_all(b"\0\0")?;
    // With an answer unread it is a reset.
    drop(rubbish);
    let mut half = connect()?;
    half.write_all(b"GET / HT")?;
    drop(half);
    let unknown = request(stage.port, &stage.name("nobody"), "")?;
    ensure!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    ensure!(stage.ask()? == "a");
    Ok(())
}

/// An env gets another name: what is forwarded of it is so under the new one, with focus and own port.
pub fn a_renamed_env_stays_forwarded(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let service = stage.service("a", "0.0.0.0")?;
    let _proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    // A list asks who forwards for a moment only, and goes without the answer then.
    let own = |stage: &Stage| -> Result<u64> {
        let mut own = None;
        until("it has a port of its own", || {
            let forwards = stage.forwards()?;
            own = forwards
                .first()
                .and_then(|forward| forward["stable"].as_u64());
            Ok(own.is_some())
        })?;
        own.context("no port of its own")
    };
    let before = own(&stage)?;
    drop(service);
    stage.workspace.ok(&["rename", "a", "b"])?;
    let _service = stage.service("b", "0.0.0.0")?;
    until("it answers under its new name", || {
        Ok(stage.ask()? == "b" && stage.ask_for("b")? == "b")
    })?;
    let after = own(&stage)?;
    ensure!(after == before, "{before} became {after}");
    Ok(())
}

/// A port that the file opens is reached from elsewhere; other envs on it are not.
pub fn only_what_the_file_opens_is_reached_from_elsewhere(engine: &TestEngine) -> Result<()> {
    let (stage, _services) = two(engine)?;
    // An address of this machine that isn't loopback: the one of the engine's bridge.
    let route = stage
        .workspace
        .ok(&["exec", "a", "--", "ip", "route", "show", "default"])?;
    let words: Vec<&str> = route.split_whitespace().collect();
    let here = words.get(2).context("no gateway")?.to_string();
    let from_elsewhere = |host: &str| -> Result<String> {
        let mut stream = TcpStream::connect((here.as_str(), stage.port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let _proxy = stage.proxy(&["*"])?;
    stage.workspace.ok(&["focus", "b"])?;
    ensure!(from_elsewhere("x").is_err(), "it is open without a word");
    let path = stage.workspace.directory().join("containers.yaml");
    let listen = format!("  a:\n    listen: {{{}: everywhere}}\n", stage.port);
    let text = std::fs::read_to_string(&path)?.replace("  a:\n", &listen);
    std::fs::write(&path, text)?;
    until("it is open", || Ok(from_elsewhere("x")?.ends_with("a\n")))?;
    // The focus is another's here; from there only what is open can have it.
    ensure!(stage.ask()? == "b");
    let by_name = from_elsewhere(&stage.name("b"))?;
    ensure!(by_name.starts_with("HTTP/1.1 404"), "{by_name}");
    Ok(())
}
