//! Commands against limactl's of the same machines.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::lima::{LimaProject, LimaStage};

use super::name;
use crate::commands::ended;
use crate::pairs::{Pairs, time};
use crate::row::Row;

/// Ours by limactl's, at most.
const MAKING: f64 = 1.05;
const LISTING: f64 = 1.1;
const PAIRS: (usize, usize) = (1, 7);
/// Of what boots a virtual machine.
const SLOW: (usize, usize) = (0, 3);
const QUICK: (usize, usize) = (4, 40);

/// `container create` and `up` of an env.
pub fn create_and_start(project: &LimaProject, _traffic: &Path) -> Result<Vec<Row>> {
    let stage = project.stage();
    // The first of a template checks it.
    project.ok(&["container", "create", "dev", "debian:12"])?;
    // A machine with the same of everything.
    let yaml = stage.path("hand.yaml");
    std::fs::copy(stage.instance("web-dev").join("lima.yaml"), &yaml)?;
    let yaml = yaml.to_string_lossy();
    if !stage.is_fake() {
        // It would have a part of the machine.
        project.ok(&["down", "dev"])?;
    }
    let (warm_up, counted) = if stage.is_fake() { PAIRS } else { SLOW };
    let create = Pairs::take(
        warm_up,
        counted,
        || {
            let taken = ended(project.command(&["container", "create", "new", "debian:12"]))?;
            project.ok(&["remove", "new", "-f"])?;
            project.ok(&["gc", "--all", "-f"])?;
            Ok(taken)
        },
        || {
            let create = by_hand(stage, &["create", "--tty=false", "--name=hand", &yaml])?;
            let start = by_hand(stage, &["start", "--tty=false", "hand"])?;
            stage.ok(&["delete", "-f", "hand"])?;
            Ok(create + start)
        },
    )?;
    by_hand(stage, &["create", "--tty=false", "--name=hand", &yaml])?;
    by_hand(stage, &["start", "--tty=false", "hand"])?;
    stage.ok(&["stop", "hand"])?;
    if stage.is_fake() {
        project.ok(&["down", "dev"])?;
    }
    let start = Pairs::take(
        warm_up,
        counted,
        || {
            let taken = ended(project.command(&["up", "dev"]))?;
            project.ok(&["down", "dev"])?;
            Ok(taken)
        },
        || {
            let taken = by_hand(stage, &["start", "--tty=false", "hand"])?;
            stage.ok(&["stop", "hand"])?;
            Ok(taken)
        },
    )?;
    let engine = name(stage);
    let note = "ours sets up the user and SSH, and takes `initial-state`, for which the stand-in packs its guest's files; it \
                boots in well under a second, so what is ours weighs more than on a VM";
    Ok(vec![
        Row::pairs_below(
            engine,
            "`container create` / `limactl create`, `start`",
            &create,
            MAKING,
        )
        .noting(stage.is_fake().then(|| note.to_owned())),
        Row::pairs_below(engine, "`up` / `limactl start`", &start, MAKING),
    ])
}

/// `list` of five envs that run.
pub fn list(project: &LimaProject, _traffic: &Path) -> Result<Vec<Row>> {
    for env in crate::stage::ENVS {
        project.ok(&["container", "create", env, "debian:12"])?;
    }
    let stage = project.stage();
    let pairs = Pairs::take(
        QUICK.0,
        QUICK.1,
        || ended(project.command(&["list"])),
        || by_hand(stage, &["list"]),
    )?;
    Ok(vec![Row::pairs_below(
        name(stage),
        "`list` of 5 envs / `limactl list`",
        &pairs,
        LISTING,
    )])
}

/// How long a call of limactl takes. Its output goes nowhere: what it starts keeps it open.
fn by_hand(stage: &LimaStage, arguments: &[&str]) -> Result<Duration> {
    let mut command = stage.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    time(|| {
        let status = command.status()?;
        ensure!(status.success(), "{arguments:?}: {status}");
        Ok(())
    })
}
