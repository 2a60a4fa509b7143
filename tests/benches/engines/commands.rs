//! Commands without a new instance, compared with the engine's own client.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::pairs::Pairs;
use crate::row::{Row, Target};
use crate::stage::Stage;

/// Pairs of warm-up and counted pairs of short commands.
pub const QUICK: (usize, usize) = (4, 40);

/// The start of the program, compared with a program that does nothing.
pub fn start(stage: &Stage) -> Result<Vec<Row>> {
    let peer = || Ok(Command::new("true"));
    compare(stage, "`--version` / `true`", &["--version"], peer, 2.0)
}

pub fn list(stage: &Stage) -> Result<Vec<Row>> {
    let what = format!("`list` of 5 envs / `{} list`", stage.peer.program());
    let peer = || stage.peer.command(&["list"]);
    compare(stage, &what, &["list"], peer, 0.3)
}

/// `exec` of a command that does nothing.
pub fn exec(stage: &Stage) -> Result<Vec<Row>> {
    let what = format!("`exec dev -- true` / `{} exec`", stage.peer.program());
    let instance = stage.instance("dev");
    let peer = || stage.peer.command(&["exec", &instance, "--", "true"]);
    compare(stage, &what, &["exec", "dev", "--", "true"], peer, 1.1)
}

fn compare(
    stage: &Stage,
    what: &str,
    ours: &[&str],
    peer: impl Fn() -> Result<Command>,
    limit: f64,
) -> Result<Vec<Row>> {
    let ours = || run(stage.workspace.command(ours)?);
    let pairs = Pairs::take(QUICK, ours, || run(peer()?))?;
    let target = Target::AtMost(limit);
    Ok(vec![Row::commands(&stage.engine, what, &pairs, target)])
}

/// Runs a command that has to succeed, and returns its duration.
pub fn run(mut command: Command) -> Result<Duration> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = Instant::now();
    let output = command.output()?;
    let duration = started.elapsed();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {stderr}");
    Ok(duration)
}
