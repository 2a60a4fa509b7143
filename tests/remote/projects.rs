//! Projects of an engine other than `default`.

use anyhow::{Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Ran, Workspace};
use serde_json::json;

use crate::admin::{Admin, EngineProject};
use crate::life::{self, expect, on_runtime};
use crate::server::Relay;
use crate::visitor::{Visitor, url};

pub fn instances_live_in_a_project(engine: &TestEngine) -> Result<()> {
    let project = EngineProject::new(engine)?;
    let visitor = Visitor::new(engine)?.trusted()?;
    let port = Admin::new(engine)?.port()?;
    visitor.knows(&url(port), &format!("    project: {}\n", project.name))?;
    on_runtime(async {
        let lab = visitor.lab().await?;
        ensure!(lab.id().project.as_str() == project.name);
        life::whole(&lab).await?;
        life::told(&lab).await?;
        // Its instances are in no other project.
        let name = life::name()?;
        life::create(lab.as_ref(), &name, &image()).await?;
        let default = engine.backend();
        expect(default.instance(&name).await, ErrorKind::NotFound, &[])?;
        let listed = default.instances().await?;
        ensure!(
            listed.iter().all(|found| found.name != name),
            "listed in both projects"
        );
        life::delete(lab.as_ref(), &name).await
    })
}

pub fn the_command_line_follows_the_current_project(engine: &TestEngine) -> Result<()> {
    let project = EngineProject::new(engine)?;
    let workspace = Workspace::new(engine)?;
    let visitor = Visitor::in_home(engine, &workspace.root.path().join("home"))?;
    let local = |name: &str| format!("  local:\n    addr: unix://\n    project: {name}\n");
    visitor.configure(&local(&project.name))?;
    workspace.create("dev")?;
    ensure!(workspace.ok(&["exec", "dev", "--", "echo", "here"])? == "here\n");
    let path = format!("/1.0/instances?project={}", project.name);
    let there = Admin::new(engine)?.ask("GET", &path, &json!({}))?;
    ensure!(
        there.as_array().is_some_and(|all| all.len() == 1),
        "{there}"
    );
    ensure!(
        workspace.instances()?.is_empty(),
        "the instance is in `default`"
    );
    visitor.configure(&local("default"))?;
    ensure!(workspace.ok(&["list"])?.contains("NOT FOUND"));
    Ok(())
}

/// As with `lxd-user` and `incus-user`: a socket that leads to the engine with a certificate for one project only.
pub fn restricted_user_gets_their_own_project(engine: &TestEngine) -> Result<()> {
    let project = EngineProject::restricted(engine)?;
    let visitor = Visitor::new(engine)?.trusted_for(&project.name)?;
    let workspace = Workspace::new(engine)?;
    let socket = workspace.root.path().join("unix.socket.user");
    let _relay = Relay::start(&socket, &visitor)?;
    let run = |arguments: &[&str]| -> Result<Ran> {
        let mut command = workspace.command(arguments)?;
        Ok(command.env(engine.variable(), &socket).output()?.into())
    };
    let ran = run(&["container", "create", "dev", &image()])?;
    ensure!(ran.code == Some(0), "{ran:#?}");
    // Forbidden features are skipped with a message.
    ensure!(ran.stderr.contains("forbids snapshots"), "{ran:#?}");
    let path = format!("/1.0/instances?project={}", project.name);
    let there = Admin::new(engine)?.ask("GET", &path, &json!({}))?;
    ensure!(
        there.as_array().is_some_and(|all| all.len() == 1),
        "{there}"
    );
    let ran = run(&["exec", "dev", "--", "echo", "mine"])?;
    ensure!(ran.stdout == "mine\n", "{ran:#?}");
    ensure!(run(&["list"])?.stdout.contains("RUNNING"));
    for arguments in [&["down", "dev"][..], &["remove", "-f", "dev"]] {
        let ran = run(arguments)?;
        ensure!(ran.code == Some(0), "{ran:#?}");
    }
    Ok(())
}
