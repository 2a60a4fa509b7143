//! Envs on Lima against `limactl` by hand, on the tests' stand-in: what is ours beside it, not how fast a VM is.
//!
//! limactl refuses root, so root's bench starts itself once more as the tests' user, and takes the rows from its output.

mod commands;
mod disks;
mod ports;

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::{self, Guest, Lima, LimaProject, LimaStage, Limactl};

use crate::ports::place;
use crate::row::Row;

/// The argument of the bench that the user runs.
pub const AS_USER: &str = "lima-as-user";
/// The engine's name in rows.
const NAME: &str = "Lima's stand-in";

/// All rows of Lima.
pub fn lima() -> Result<Vec<Row>> {
    let traffic = place::build()?;
    let limactl = stand_in()?;
    if !lima::is_root() {
        return measure(&limactl, &traffic);
    }
    let (_copies, mut command) = lima::as_user(&limactl, &traffic)?;
    let output = command
        .arg(AS_USER)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run setpriv")?;
    ensure!(output.status.success(), "as the tests' user: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The user's side of it: rows as JSON on stdout.
pub fn as_user() -> Result<()> {
    let limactl = stand_in()?;
    let traffic = limactl.path.with_file_name("lxc-dev-manager-traffic");
    let rows = measure(&limactl, &traffic)?;
    serde_json::to_writer(std::io::stdout(), &rows)?;
    Ok(())
}

fn stand_in() -> Result<Limactl> {
    let found = Lima::find_without_user()?;
    let fake = found.into_iter().find(|limactl| limactl.fake);
    fake.context("no stand-in for limactl")
}

fn measure(limactl: &Limactl, traffic: &Path) -> Result<Vec<Row>> {
    place::raise_descriptors();
    let mut rows = Vec::new();
    type Measure = fn(&LimaProject, &Path) -> Result<Vec<Row>>;
    let parts: [(&str, Measure); 4] = [
        ("create and start", commands::create_and_start),
        ("list", commands::list),
        ("snapshot and restore", disks::snapshot_and_restore),
        ("ports", ports::ports),
    ];
    for (part, measure) in parts {
        eprintln!("bench: {NAME}: {part}");
        let stage = LimaStage::new(limactl)?;
        let project = LimaProject::new(&stage, Guest::Busybox)?;
        rows.extend(measure(&project, traffic).with_context(|| part.to_owned())?);
    }
    Ok(rows)
}
