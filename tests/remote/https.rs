//! Engines over HTTPS, with client and server certificates.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::model::GuestPort;
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::Workspace;

use crate::admin::Admin;
use crate::life::{self, expect, on_runtime};
use crate::visitor::{LAB, Visitor, url};

pub fn instances_live_over_https(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    on_runtime(async {
        let lab = visitor.lab().await?;
        ensure!(lab.id().address.starts_with("https://127.0.0.1:"));
        lab.capabilities().await?;
        life::whole(&lab).await
    })
}

pub fn events_come_over_https(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    on_runtime(async { life::told(&visitor.lab().await?).await })
}

pub fn a_wrong_certificate_is_refused(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])?;
    visitor.note(&other.cert.pem())?;
    on_runtime(async {
        let words = ["has another certificate", "`lab`", "remote remove lab"];
        let lab = visitor.lab().await?;
        let refused = ErrorKind::PermissionDenied;
        expect(lab.instances().await, refused, &words)?;
        expect(lab.events().await.map(drop), refused, &words)
    })
}

pub fn an_unknown_authority_is_refused(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    std::fs::remove_file(visitor.path(&format!("servercerts/{LAB}.crt")))?;
    on_runtime(async {
        let answer = visitor.lab().await?.instances().await;
        expect(answer, ErrorKind::PermissionDenied, &["`lab`"])
    })
}

pub fn untrusted_client_gets_instructions(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?;
    on_runtime(async {
        let lab = visitor.lab().await?;
        let words = ["config trust add", "remote add lab"];
        let refused = ErrorKind::PermissionDenied;
        expect(lab.instances().await, refused, &words)?;
        expect(lab.instance(&life::name()?).await, refused, &words)?;
        expect(lab.events().await.map(drop), refused, &words)
    })
}

/// The engine's client creates key, certificate and configuration, and trusts the server.
pub fn configuration_of_the_engines_client_is_enough(engine: &TestEngine) -> Result<()> {
    let admin = Admin::new(engine)?;
    let address = url(admin.port()?);
    let client = Admin::new(engine)?;
    let token = match engine.label() {
        "lxd" => admin.run(&["config", "trust", "add", "--name", "written", "-q"])?,
        _ => admin.run(&["config", "trust", "add", "written", "-q"])?,
    };
    let token = token.lines().last().context("no token")?.trim();
    let added = client.run(&["remote", "add", LAB, token, "--accept-certificate"]);
    // Some versions refuse a token with other addresses; by URL it works.
    added.or_else(|_| {
        let token = format!("--token={token}");
        client.run(&[
            "remote",
            "add",
            LAB,
            &address,
            "--accept-certificate",
            &token,
        ])
    })?;
    let visitor = Visitor::new(engine)?;
    for name in ["client.crt", "client.key", "config.yml"] {
        let text = std::fs::read_to_string(client.configuration().join(name))?;
        visitor.write(name, &text)?;
    }
    let noted = client
        .configuration()
        .join(format!("servercerts/{LAB}.crt"));
    visitor.note(&std::fs::read_to_string(noted)?)?;
    let asked = on_runtime(async {
        visitor.lab().await?.instances().await?;
        Ok(())
    });
    admin.distrust("written")?;
    asked
}

pub fn network_of_a_remote_is_not_checked(engine: &TestEngine) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    on_runtime(async {
        let port = GuestPort::new(22).context("no port")?;
        let dialled = visitor.lab().await?.dial(&life::name()?, port).await;
        let words = ["is not reachable", "on remote `lab`", "exec"];
        expect(dialled.map(drop), ErrorKind::Unsupported, &words)
    })
}

pub fn the_command_line_works_at_a_remote(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let _visitor = Visitor::in_home(engine, &workspace.root.path().join("home"))?.trusted()?;
    let at = |arguments: &[&str]| -> Result<String> {
        let mut command = workspace.command(&[&["--remote", LAB][..], arguments].concat())?;
        // Only the remote's name leads to the engine.
        command.env_remove(engine.variable());
        let output = command.output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    at(&["container", "create", "dev", &image()])?;
    let listed: serde_json::Value = serde_json::from_str(&at(&["--json", "list"])?)?;
    ensure!(listed["envs"][0]["status"] == "running", "{listed}");
    let address = listed["engines"][0]["address"].as_str();
    ensure!(
        address.is_some_and(|url| url.starts_with("https://")),
        "{listed}"
    );
    ensure!(at(&["list"])?.contains("dev"));
    ensure!(at(&["exec", "dev", "--", "echo", "from afar"])? == "from afar\n");
    let block = at(&["ssh-config", "dev"])?;
    ensure!(block.contains("--remote lab dial dev 22"), "{block}");
    at(&["down", "dev"])?;
    at(&["container", "reset", "dev", "-f"])?;
    at(&["undo", "dev"])?;
    at(&["remove", "dev", "-f"])?;
    let listed: serde_json::Value = serde_json::from_str(&at(&["--json", "list"])?)?;
    ensure!(listed["envs"] == serde_json::json!([]), "{listed}");
    Ok(())
}

pub fn file_sets_its_remote(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let visitor = Visitor::in_home(engine, &workspace.root.path().join("home"))?.trusted()?;
    let path = workspace.directory().join("containers.yaml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("remote: {LAB}\n{text}"))?;
    let refused = workspace.run(&["container", "create", "dev", "debian:12"])?;
    ensure!(
        refused
            .stderr
            .contains("is not trusted: it uses the remote `lab`"),
        "{refused:#?}"
    );
    workspace.ok(&["trust"])?;
    workspace.create("dev")?;
    ensure!(workspace.file()?.starts_with("remote: lab\n"));
    ensure!(workspace.ok(&["exec", "dev", "--", "echo", "named"])? == "named\n");
    for arguments in [&["--json", "list"][..], &["--json", "list", "--all"]] {
        let listed = workspace.ok(arguments)?;
        let listed: serde_json::Value = serde_json::from_str(&listed)?;
        let engines = listed["engines"].as_array().context("no engines")?;
        let urls: Vec<&str> = engines
            .iter()
            .filter_map(|engine| engine["address"].as_str())
            .collect();
        ensure!(
            urls.len() == 1 && urls[0].starts_with("https://"),
            "{urls:?}"
        );
    }
    // The file has precedence, and the ignored option is reported.
    visitor.configure(&format!(
        "  {LAB}:\n    addr: {}\n  other:\n    addr: https://127.0.0.1:1\n",
        url(Admin::new(engine)?.port()?)
    ))?;
    let ran = workspace.run(&["--remote", "other", "down", "dev"])?;
    ensure!(ran.code == Some(0), "{ran:#?}");
    ensure!(ran.stderr.contains("Ignoring remote `other`"), "{ran:#?}");
    // Another user lacks a remote of that name.
    visitor.configure("  other:\n    addr: https://127.0.0.1:1\n")?;
    let ran = workspace.run(&["up", "dev"])?;
    ensure!(ran.code == Some(1), "{ran:#?}");
    ensure!(ran.stderr.contains("unknown remote `lab`"), "{ran:#?}");
    ensure!(workspace.ok(&["list"])?.contains("unknown remote `lab`"));
    Ok(())
}

pub fn unreachable_remotes_are_reported(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let visitor = Visitor::in_home(engine, &workspace.root.path().join("home"))?;
    let ran = workspace.run(&["--remote", "nowhere", "up", "dev"])?;
    let said = &ran.stderr;
    ensure!(ran.code == Some(1), "{ran:#?}");
    ensure!(said.contains("unknown remote `nowhere`"), "{ran:#?}");
    ensure!(said.contains("`lab`"), "{ran:#?}");
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    visitor.knows(&url(closed), "")?;
    let ran = workspace.run(&["--remote", LAB, "container", "create", "dev", &image()])?;
    ensure!(ran.code == Some(3), "{ran:#?}");
    let said = &ran.stderr;
    ensure!(said.contains("remote `lab` is not reachable"), "{ran:#?}");
    ensure!(said.contains("info lab:"), "{ran:#?}");
    // Accepts connections without responding: the wait has a timeout.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    visitor.knows(&url(silent.local_addr()?.port()), "")?;
    let ran = workspace.run(&["--remote", LAB, "container", "create", "dev", &image()])?;
    ensure!(ran.code == Some(3), "{ran:#?}");
    ensure!(ran.stderr.contains("no response within"), "{ran:#?}");
    visitor.knows("ftp://lab", "")?;
    let ran = workspace.run(&["--remote", LAB, "up", "dev"])?;
    ensure!(ran.code == Some(1), "{ran:#?}");
    ensure!(ran.stderr.contains("config.yml, line 4"), "{ran:#?}");
    Ok(())
}
