//! Several envs on one port of this machine.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;

use crate::stage::{Stage, ask, request, until};

/// Three envs of one project, all serving one port: by name, by focus, by a port of their own.
pub fn names_focus_and_own_ports(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a", "b", "c"])?;
    let _services = ["a", "b", "c"].map(|env| stage.service(env, "0.0.0.0"));
    let mut proxy = stage.proxy(&["a"])?;
    ensure!(stage.ask()? == "a");
    for env in ["a", "b", "c"] {
        ensure!(stage.ask_for(env)? == env, "by name: {env}");
    }
    // Whoever is proxied next gets the focus, and it is said.
    let _second = stage.proxy(&["b"])?;
    until("the focus moves", || Ok(stage.ask()? == "b"))?;
    ensure!(stage.ask_for("a")? == "a");
    let line = proxy.line()?;
    ensure!(line.contains("also port"), "{line:?}");
    let moved = stage.workspace.ok(&["focus", "c"])?;
    ensure!(moved.contains("goes to c now, no longer to b"), "{moved}");
    // Nobody wished it to be forwarded, but it runs and has the port.
    ensure!(stage.ask()? == "c" && stage.ask_for("b")? == "b");
    stage.workspace.ok(&["focus", "a"])?;
    ensure!(stage.ask()? == "a");
    for forward in stage.forwards()?.iter().take(2) {
        let own = forward["stable"].as_u64().context("no port of its own")?;
        ensure!((20_000..30_000).contains(&own), "{own}");
        let own = u16::try_from(own)?;
        let env = forward["env"]["env"].as_str().context("no env")?;
        ensure!(ask(own, "localhost")? == env);
        // No name leads away from it.
        ensure!(ask(own, &stage.name("c"))? == env);
    }
    let unknown = request(stage.port, &stage.name("d"), "Accept: text/html\r\n")?;
    ensure!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    for env in ["a", "b", "c"] {
        ensure!(
            unknown.contains(&format!("http://{}/", stage.name(env))),
            "{unknown}"
        );
    }
    Ok(())
}

/// Connections that are no requests keep a port where it is, unless it is named.
pub fn a_session_keeps_its_port(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a", "b"])?;
    let _services = ["a", "b"].map(|env| stage.service(env, "0.0.0.0"));
    let _proxy = stage.proxy(&["*"])?;
    stage.workspace.ok(&["focus", "a"])?;
    // A protocol of which nobody knows anything.
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
    ensure!(named.contains("goes to b now"), "{named}");
    ensure!(stage.ask()? == "b");
    // The session lives, until it is asked to end.
    ensure!(stage.forwards()?.first().and_then(open) == Some(1));
    stage.workspace.ok(&["focus", "a"])?;
    stage.workspace.ok(&["focus", "b", "--cut"])?;
    until("it is cut", || {
        Ok(stage.forwards()?.first().and_then(open) == Some(0))
    })
}

/// A port that is added to the file is forwarded at once, one that is removed no longer.
pub fn ports_come_and_go_with_the_file(engine: &TestEngine) -> Result<()> {
    let stage = Stage::new(engine, &["a"])?;
    let other = crate::stage::free_port()?;
    let _one = stage.service("a", "0.0.0.0")?;
    let _two = stage.service_that_says("a", "second", "0.0.0.0", other)?;
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
    until("it is closed", || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", other)).is_err())
    })?;
    // A checkout of another branch, which takes the file away for a moment, closes nothing.
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
    until("it is given up", || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", stage.port)).is_err())
    })
}
