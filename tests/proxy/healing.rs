//! Forwards across restarts of envs, services and processes.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;

use crate::stage::{Running, Stage, TIMEOUT, ask, request, until};

/// Two envs with a service on the same port.
fn two(engine: &TestEngine) -> Result<(Stage, [Running; 2])> {
    let stage = Stage::new(engine, &["a", "b"])?;
    let services = [
        stage.service("a", "0.0.0.0")?,
        stage.service("b", "0.0.0.0")?,
    ];
    Ok((stage, services))
}

/// An endless transfer.
struct Transfer(TcpStream);

impl Transfer {
    fn begin(stage: &Stage, host: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", stage.port))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /long HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
        let mut transfer = Self(stream);
        transfer.read_more()?;
        Ok(transfer)
    }

    /// Reads more bytes.
    fn read_more(&mut self) -> Result<()> {
        ensure!(self.0.read(&mut [0; 4096])? > 0);
        Ok(())
    }

    /// Checks that the transfer was reset.
    fn ensure_reset(mut self) -> Result<()> {
        let ended = self.0.read_to_end(&mut Vec::new());
        let reset = ended.err().context("ended without a reset")?;
        ensure!(reset.kind() == ErrorKind::ConnectionReset, "{reset}");
        Ok(())
    }
}

/// The listener stays open across restarts of service and env.
pub fn listener_survives_restarts(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let mut service = stage.service("a", "0.0.0.0")?;
    let _proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    service.kill()?;
    // Browsers get a page that reloads; other clients are held until the service listens.
    until("the service has gone", || {
        Ok(request(stage.port, "localhost", "")?.starts_with("HTTP/1.1 503 "))
    })?;
    let page = request(stage.port, "localhost", "Accept: text/html\r\n")?;
    ensure!(
        page.starts_with("HTTP/1.1 503 ") && page.contains("http-equiv=\"refresh\""),
        "{page}"
    );
    let port = stage.port;
    let waiting = std::thread::spawn(move || ask(port, "localhost"));
    let mut service = stage.service("a", "0.0.0.0")?;
    ensure!(waiting.join().map_err(|_| anyhow::anyhow!("panicked"))?? == "a");
    stage.workspace.ok(&["down", "a"])?;
    service.kill()?;
    let page = request(stage.port, "localhost", "Accept: text/html\r\n")?;
    ensure!(page.starts_with("HTTP/1.1 503 "), "{page}");
    ensure!(
        page.contains("stopped") && page.contains("lxc-dev-manager up a"),
        "{page}"
    );
    // The new boot does not reset held clients.
    let held = std::thread::spawn(move || ask_until_served(port));
    stage.workspace.ok(&["up", "a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let held = held.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    ensure!(held.ends_with("\r\n\r\na\n"), "{held}");
    ensure!(stage.ask()? == "a");
    Ok(())
}

/// Requests until the service answers, so that some request is held at any time; returns the answer. A request that is
/// held for too long gets a 503, and none is reset.
fn ask_until_served(port: u16) -> Result<String> {
    let begun = Instant::now();
    loop {
        let answer = request(port, "localhost", "")?;
        if answer.starts_with("HTTP/1.1 200 ") {
            return Ok(answer);
        }
        ensure!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("Waiting for a."),
            "{answer}"
        );
        ensure!(begun.elapsed() < TIMEOUT, "{answer}");
    }
}

/// A restore resets open transfers; new connections work.
pub fn restore_resets_transfers(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let _proxy = stage.proxy(&["a"])?;
    let transfer = Transfer::begin(&stage, "localhost")?;
    stage.workspace.ok(&["container", "reset", "a"])?;
    transfer.ensure_reset()?;
    let _service = stage.service("a", "0.0.0.0")?;
    until("it answers again", || Ok(stage.ask()? == "a"))
}

/// A session with a lease takes over from a killed forwarder.
pub fn session_takes_over_from_killed_forwarder(engine: &TestEngine) -> Result<()> {
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

/// A handover refuses no connection; open connections continue, and end with their env.
pub fn handover_refuses_no_connection(engine: &TestEngine) -> Result<()> {
    let (stage, _services) = two(engine)?;
    let mut first = stage.proxy(&["a"])?;
    let _second = stage.proxy(&["b"])?;
    until("both are forwarded", || {
        Ok(stage.ask_for("a")? == "a" && stage.ask_for("b")? == "b")
    })?;
    let mut transfer = Transfer::begin(&stage, &stage.name("a"))?;
    let asking = Arc::new(AtomicBool::new(true));
    let (port, name, read_more) = (stage.port, stage.name("b"), asking.clone());
    let others = std::thread::spawn(move || -> Result<usize> {
        let mut answered = 0;
        while read_more.load(Ordering::Relaxed) {
            ensure!(ask(port, &name)? == "b");
            answered += 1;
        }
        Ok(answered)
    });
    first.signal("-INT")?;
    // The second process has no lease for `a`.
    until("it is handed over", || {
        let forwards = stage.forwards()?;
        let is_open = |forward: &&serde_json::Value| forward["state"] == "forwarded";
        Ok(forwards.iter().filter(is_open).count() == 1)
    })?;
    transfer.read_more()?;
    asking.store(false, Ordering::Relaxed);
    let answered = others.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    ensure!(answered > 0, "no requests during the handover");
    ensure!(
        first.child.try_wait()?.is_none(),
        "exited with open connections"
    );
    stage.workspace.ok(&["down", "a"])?;
    transfer.ensure_reset()?;
    until("it ends with its last connection", || {
        Ok(first.child.try_wait()?.is_some())
    })?;
    ensure!(stage.ask()? == "b");
    Ok(())
}

/// The owner of a port in use is named; the port is forwarded after it has been free for a while.
pub fn port_in_use_names_owner_and_recovers(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let other = TcpListener::bind(("127.0.0.1", stage.port))?;
    let mut proxy = stage.proxy(&["a"])?;
    // `list` omits forwards if the forwarder is slow.
    let mut forward = serde_json::Value::Null;
    until("the forwarder answers", || {
        forward = stage.forwards()?.first().cloned().unwrap_or_default();
        Ok(!forward.is_null())
    })?;
    ensure!(forward["state"] == "taken", "{forward}");
    let message = forward["problem"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(
        message.contains(&format!("(pid {})", std::process::id())),
        "{message}"
    );
    // The port keeps its number, and its own port works.
    let own = u16::try_from(forward["stable"].as_u64().context("no port of its own")?)?;
    ensure!(ask(own, "localhost")? == "a");
    drop(other);
    // Poll like the table of `proxy`.
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

/// A connection starts an env with `wake: true`, unless it was stopped by `down`.
pub fn connection_starts_env(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let path = stage.workspace.directory().join("containers.yaml");
    let text = std::fs::read_to_string(&path)?.replace("  a:\n", "  a:\n    wake: true\n");
    std::fs::write(&path, text)?;
    stage.workspace.ok(&["trust"])?;
    let _proxy = stage.proxy(&["a"])?;
    stage.workspace.ok(&["down", "a"])?;
    let page = request(stage.port, "localhost", "Accept: text/html\r\n")?;
    ensure!(page.starts_with("HTTP/1.1 503 "), "{page}");
    ensure!(page.contains("`a` is stopped"), "env was started: {page}");
    stage.workspace.ok(&["up", "a"])?;
    // Not stopped by `down`.
    stage
        .workspace
        .ok(&["exec", "-u", "root", "a", "--", "systemctl", "poweroff"])?;
    let stopped = || Ok(stage.workspace.ok(&["list"])?.contains("STOPPED"));
    until("it has stopped", stopped)?;
    // Poll like a reloading page. It has no service, also once it runs.
    let mut pages = Vec::new();
    until("it runs", || {
        pages.push(request(stage.port, "localhost", "Accept: text/html\r\n"));
        Ok(stage.workspace.ok(&["list"])?.contains("RUNNING"))
    })?;
    for page in pages {
        let page = page?;
        ensure!(
            page.starts_with("HTTP/1.1 503 ") && page.contains("http-equiv=\"refresh\""),
            "{page}"
        );
    }
    Ok(())
}

/// A stopped (SIGSTOP) forwarder recovers.
pub fn stopped_forwarder_recovers(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    proxy.signal("-STOP")?;
    stage.workspace.ok(&["restart", "a"])?;
    // `list` does not wait for it.
    ensure!(stage.workspace.ok(&["list"])?.contains("RUNNING"));
    proxy.signal("-CONT")?;
    let _service = stage.service("a", "0.0.0.0")?;
    until("it answers", || Ok(stage.ask()? == "a"))?;
    Ok(())
}

/// Far more than pooled pipes.
const ROUNDS: usize = 40;

/// Misbehaving clients leak no descriptors of the forwarder.
pub fn misbehaving_clients_leak_no_descriptors(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let _service = stage.service("a", "0.0.0.0")?;
    let proxy = stage.proxy(&["a"])?;
    let directory = format!("/proc/{}/fd", proxy.child.id());
    let descriptors = || anyhow::Ok(std::fs::read_dir(&directory)?.count());
    for _ in 0..5 {
        open_bad_connections(&stage)?;
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
        open_bad_connections(&stage)?;
    }
    until("no descriptor is left", || {
        let now = descriptors()?;
        ensure!(now < before + ROUNDS, "{before} before, {now} after");
        Ok(true)
    })
}

/// Opens misbehaving connections.
fn open_bad_connections(stage: &Stage) -> Result<()> {
    let connect = || TcpStream::connect(("127.0.0.1", stage.port));
    drop(connect()?);
    let silent = connect()?;
    silent.shutdown(std::net::Shutdown::Write)?;
    let mut invalid = connect()?;
    invalid.write_all(b"\0\0")?;
    // Closing with unread data causes a reset.
    drop(invalid);
    let mut half = connect()?;
    half.write_all(b"GET / HT")?;
    drop(half);
    let unknown = request(stage.port, &stage.name("nobody"), "")?;
    ensure!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    ensure!(stage.ask()? == "a");
    Ok(())
}

/// A renamed env keeps its forwards, default targets and own ports.
pub fn renamed_env_stays_forwarded(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let service = stage.service("a", "0.0.0.0")?;
    let _proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    // `list` omits forwards if the forwarder is slow.
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

/// Other hosts reach only envs whose file opens the port.
pub fn other_hosts_reach_only_open_ports(engine: &TestEngine) -> Result<()> {
    let (stage, _services) = two(engine)?;
    // A non-loopback address of this host: that of the engine's bridge.
    let route = stage
        .workspace
        .ok(&["exec", "a", "--", "ip", "route", "show", "default"])?;
    let words: Vec<&str> = route.split_whitespace().collect();
    let here = words.get(2).context("no gateway")?.to_string();
    let request_remotely = |host: &str| -> Result<String> {
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
    let ensure_closed = |what: &str| -> Result<()> {
        let error = request_remotely("x").err().context(what.to_owned())?;
        let kind = error
            .downcast_ref::<std::io::Error>()
            .map(std::io::Error::kind);
        ensure!(kind == Some(ErrorKind::ConnectionRefused), "{error:?}");
        Ok(())
    };
    ensure_closed("port open without `listen`")?;
    let path = stage.workspace.directory().join("containers.yaml");
    let listen = format!("  a:\n    listen: {{{}: everywhere}}\n", stage.port);
    let text = std::fs::read_to_string(&path)?.replace("  a:\n", &listen);
    std::fs::write(&path, text)?;
    // The guest may have written it: nothing opens before the user allows it.
    let refused = stage.workspace.run(&["trust", "--show"])?;
    ensure!(
        refused.stdout.contains("everywhere in `a` (not trusted)"),
        "{refused:?}"
    );
    std::thread::sleep(std::time::Duration::from_secs(2));
    ensure_closed("port open without consent")?;
    stage.workspace.ok(&["trust"])?;
    until("it is open", || {
        let answer = request_remotely(&here)?;
        Ok(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\na\n"))
    })?;
    // Not to a page that made its own name lead here.
    let foreign = request_remotely("evil.example")?;
    ensure!(foreign.starts_with("HTTP/1.1 421 "), "{foreign}");
    // Remote clients reach only open envs, even if the default target is another one.
    ensure!(stage.ask()? == "b");
    let by_name = request_remotely(&stage.name("b"))?;
    ensure!(by_name.starts_with("HTTP/1.1 404 "), "{by_name}");
    Ok(())
}
