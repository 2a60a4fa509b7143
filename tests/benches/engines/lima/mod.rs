//! Envs on Lima against `limactl` by hand: on the tests' stand-in, which shows what is ours rather than how fast a VM is, and on a
//! real one that is found.
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
use crate::row::{Part, Row};

/// The argument of the bench that the user runs.
pub const AS_USER: &str = "lima-as-user";
/// What is measured of a project, whose guests may need a program for traffic.
type Measure = fn(&LimaProject, &Path) -> Result<Vec<Row>>;

/// Everything.
const ON_STAND_IN: [(&str, Measure); 4] = [
    ("create and start", commands::create_and_start),
    ("list", commands::list),
    ("snapshot and restore", disks::snapshot_and_restore),
    ("ports", ports::ports),
];
/// What hangs on how fast a machine, or limactl, is.
const ON_REAL: [(&str, Measure); 2] = [
    ("create and start", commands::create_and_start),
    ("list", commands::list),
];

/// The engine's name in rows.
fn name(stage: &LimaStage) -> &'static str {
    if stage.is_fake() {
        "Lima's stand-in"
    } else {
        "Lima"
    }
}

/// All rows of Lima.
pub fn lima() -> Result<Vec<Row>> {
    let traffic = place::build()?;
    if !lima::is_root() {
        return measure(&traffic);
    }
    let (_copies, mut command) = lima::as_user(&stand_in()?, &traffic)?;
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
    let traffic = stand_in()?.path.with_file_name("lxc-dev-manager-traffic");
    let rows = measure(&traffic)?;
    serde_json::to_writer(std::io::stdout(), &rows)?;
    Ok(())
}

fn stand_in() -> Result<Limactl> {
    let found = Lima::find_without_user()?;
    let fake = found.into_iter().find(|limactl| limactl.fake);
    fake.context("no stand-in for limactl")
}

fn measure(traffic: &Path) -> Result<Vec<Row>> {
    place::raise_descriptors();
    let mut rows = Vec::new();
    for limactl in Lima::find_without_user()? {
        let parts: &[(&str, Measure)] = if limactl.fake { &ON_STAND_IN } else { &ON_REAL };
        for (part, measure) in parts {
            let stage = LimaStage::new(&limactl)?;
            eprintln!("bench: {}: {part}", name(&stage));
            let project = LimaProject::new(&stage, Guest::Busybox)?;
            match measure(&project, traffic) {
                Ok(measured) => rows.extend(measured),
                // What was measured on the stand-in stays.
                Err(error) if !limactl.fake => {
                    let why = format!("{error:#}");
                    rows.push(Row::unmeasured(Part::Commands, name(&stage), part, why));
                }
                Err(error) => return Err(error.context(*part)),
            }
        }
    }
    Ok(rows)
}
