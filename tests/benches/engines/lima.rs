//! Commands on Lima compared with a real `limactl`, if it is installed.
//!
//! limactl refuses root, so root's bench starts itself again as the tests' user, and reads the rows from its output.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::{self, Guest, LimaProject, LimaStage, Limactl};

use crate::commands::{QUICK, run};
use crate::pairs::{Pairs, time};
use crate::row::{Row, Target};
use crate::stage::ENVS;

/// The argument of the user's bench.
pub const AS_USER: &str = "lima-as-user";
/// Each round boots a VM.
const ROUNDS: (usize, usize) = (0, 3);
const START_TARGET: Target = Target::AtMost(1.05);
const LIST_TARGET: Target = Target::AtMost(1.1);

pub fn lima() -> Result<Vec<Row>> {
    let Some(limactl) = Limactl::real() else {
        eprintln!("bench: skipped: Lima (no limactl in PATH, and LIMACTL isn't set)");
        return Ok(Vec::new());
    };
    if !lima::is_root() {
        return measure(&limactl);
    }
    let (_copies, mut command) = lima::as_user(&limactl)?;
    let output = command.arg(AS_USER).stderr(Stdio::inherit()).output();
    let output = output.context("cannot run setpriv")?;
    ensure!(output.status.success(), "as the tests' user: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Prints the rows as JSON.
pub fn as_user() -> Result<()> {
    Ok(serde_json::to_writer(std::io::stdout(), &lima()?)?)
}

fn measure(limactl: &Limactl) -> Result<Vec<Row>> {
    let stage = LimaStage::new(limactl)?;
    let project = LimaProject::new(&stage, Guest::Busybox)?;
    // The first creation also checks the template.
    project.ok(&["container", "create", "main", "debian:12"])?;
    let yaml = stage.path("peer.yaml");
    std::fs::copy(stage.instance("web-main").join("lima.yaml"), &yaml)?;
    let yaml = yaml.to_string_lossy();
    project.ok(&["down", "main"])?;
    let create = Pairs::take(
        ROUNDS,
        || {
            let duration = run(project.command(&["container", "create", "new", "debian:12"]))?;
            project.ok(&["remove", "new", "-f"])?;
            project.ok(&["gc", "--all", "-f"])?;
            Ok(duration)
        },
        || {
            let create = call(&stage, &["create", "--tty=false", "--name=peer", &yaml])?;
            let start = call(&stage, &["start", "--tty=false", "peer"])?;
            stage.ok(&["delete", "-f", "peer"])?;
            Ok(create + start)
        },
    )?;
    call(&stage, &["create", "--tty=false", "--name=peer", &yaml])?;
    let up = Pairs::take(
        ROUNDS,
        || {
            let duration = run(project.command(&["up", "main"]))?;
            project.ok(&["down", "main"])?;
            Ok(duration)
        },
        || {
            let duration = call(&stage, &["start", "--tty=false", "peer"])?;
            stage.ok(&["stop", "peer"])?;
            Ok(duration)
        },
    )?;
    stage.ok(&["delete", "-f", "peer"])?;
    project.ok(&["up", "main"])?;
    for env in &ENVS[1..] {
        project.ok(&["container", "create", env, "debian:12"])?;
    }
    let list = Pairs::take(
        QUICK,
        || run(project.command(&["list"])),
        || call(&stage, &["list"]),
    )?;
    let created = "`container create` / `limactl create`, `start`";
    let listed = "`list` of 5 envs / `limactl list`";
    Ok(vec![
        Row::commands("Lima", created, &create, START_TARGET),
        Row::commands("Lima", "`up` / `limactl start`", &up, START_TARGET),
        Row::commands("Lima", listed, &list, LIST_TARGET),
    ])
}

/// Duration of a call of limactl. Its processes would keep an output open.
fn call(stage: &LimaStage, arguments: &[&str]) -> Result<Duration> {
    let mut command = stage.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    time(|| {
        let status = command.status()?;
        ensure!(status.success(), "{arguments:?}: {status}");
        Ok(())
    })
}
