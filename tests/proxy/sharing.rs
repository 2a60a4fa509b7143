//! Several envs on one host port.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;

use crate::stage::{Stage, ask, request, until};

/// Three envs serve one port: by name, as default target, and by own port.
pub fn routes_by_name_default_and_own_port(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a", "b", "c"])?;
    let _services = ["a", "b", "c"].map(|env| stage.service(env, "0.0.0.0"));
    let mut proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    for env in ["a", "b", "c"] {
        ensure!(stage.ask_for(env)? == env, "by name: {env}");
    }
    // The next `proxy NAME` makes its env the default target.
    let _second = stage.proxy(&["b"])?;
    until("the focus moves", || Ok(stage.ask()? == "b"))?;
    ensure!(stage.ask_for("a")? == "a");
    let line = proxy.line()?;
    ensure!(line.contains("also port"), "{line:?}");
    let moved = stage.workspace.ok(&["focus", "c"])?;
    ensure!(moved.contains("now goes to c, previously to b"), "{moved}");
    // It has no lease, but runs and has the port.
    ensure!(stage.ask()? == "c" && stage.ask_for("b")? == "b");
    stage.workspace.ok(&["focus", "a"])?;
    ensure!(stage.ask()? == "a");
    let forwards = stage.forwards()?;
    ensure!(forwards.len() >= 2, "{forwards:?}");
    for forward in forwards.iter().take(2) {
        let own = forward["stable"].as_u64().context("no port of its own")?;
        ensure!((20_000..30_000).contains(&own), "{own}");
        let own = u16::try_from(own)?;
        let env = forward["env"]["env"].as_str().context("no env")?;
        ensure!(ask(own, "localhost")? == env);
        // Own ports ignore names.
        ensure!(ask(own, &stage.name("c"))? == env);
    }
    let unknown = request(stage.port, &stage.name("d"), "Accept: text/html\r\n")?;
    ensure!(unknown.starts_with("HTTP/1.1 404 "), "{unknown}");
    for env in ["a", "b", "c"] {
        ensure!(
            unknown.contains(&format!("http://{}/", stage.name(env))),
            "{unknown}"
        );
    }
    Ok(())
}

/// Non-HTTP connections keep the default target, unless the port is given.
pub fn open_session_keeps_default_target(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a", "b"])?;
    let _services = ["a", "b"].map(|env| stage.service(env, "0.0.0.0"));
    let _proxy = stage.proxy(&["*"])?;
    stage.workspace.ok(&["focus", "a"])?;
    // An unknown protocol.
    let mut session = std::net::TcpStream::connect(("127.0.0.1", stage.port))?;
    std::io::Write::write_all(&mut session, b"\x01\x02")?;
    let open = |forward: &serde_json::Value| forward["traffic"]["open_other"].as_u64();
    until("it is open", || {
        Ok(stage.forwards()?.first().and_then(open) == Some(1))
    })?;
    let kept = stage.workspace.ok(&["focus", "b"])?;
    ensure!(kept.contains("stays at a"), "{kept}");
    ensure!(stage.ask()? == "a");
    let named = stage
        .workspace
        .ok(&["focus", "b", &stage.port.to_string()])?;
    ensure!(named.contains("now goes to b"), "{named}");
    ensure!(stage.ask()? == "b");
    // The session stays open until `--cut`.
    ensure!(stage.forwards()?.first().and_then(open) == Some(1));
    stage.workspace.ok(&["focus", "a"])?;
    stage.workspace.ok(&["focus", "b", "--cut"])?;
    until("it is cut", || {
        Ok(stage.forwards()?.first().and_then(open) == Some(0))
    })
}

/// Ports are forwarded as soon as they are added to the file, until they are removed.
pub fn forwards_follow_the_file(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let other = crate::stage::free_port()?;
    let _one = stage.service("a", "0.0.0.0")?;
    let _two = stage.service_responding_with("a", "second", "0.0.0.0", other)?;
    let _proxy = stage.proxy(&["a"])?;
    stage
        .workspace
        .ok(&["port", "add", "a", &other.to_string()])?;
    until("it is forwarded", || {
        Ok(ask(other, "localhost")? == "second")
    })?;
    ensure!(stage.ask()? == "a");
    let twice = stage.run(&["port", "add", "a", &other.to_string()])?;
    ensure!(
        twice.code == Some(1) && twice.stderr.contains("already"),
        "{twice:?}"
    );
    let unknown = stage.run(&["focus", "a", "1"])?;
    ensure!(
        unknown.code == Some(1) && unknown.stderr.contains("no port 1"),
        "{unknown:?}"
    );
    stage
        .workspace
        .ok(&["port", "rm", "a", &other.to_string()])?;
    until("it is closed", || Ok(is_refused(other)))?;
    // A briefly missing file, as during a checkout, closes nothing.
    let file = stage.workspace.directory().join("containers.yaml");
    let aside = file.with_extension("aside");
    std::fs::rename(&file, &aside)?;
    for _ in 0..10 {
        ensure!(std::net::TcpStream::connect(("127.0.0.1", stage.port)).is_ok());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    std::fs::rename(&aside, &file)?;
    until("it answers again", || Ok(stage.ask()? == "a"))?;
    stage
        .workspace
        .ok(&["port", "release", &stage.port.to_string()])?;
    until("it is released", || Ok(is_refused(stage.port)))
}

/// Whether nothing listens on a port.
fn is_refused(port: u16) -> bool {
    let connected = std::net::TcpStream::connect(("127.0.0.1", port));
    connected.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
}
