//! Commands that take no new instance, each against the same of the engine's own client.

use std::cell::Cell;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::pairs::Pairs;
use crate::row::Row;
use crate::stage::Stage;

/// Pairs of a command that is over at once, and how many come before the counted ones.
const QUICK: (usize, usize) = (4, 40);
/// Pairs of a command that stops and starts an env.
const SLOW: (usize, usize) = (1, 5);
/// Name of the snapshot that is gone back to.
const SNAPSHOT: &str = "before";

/// `list`.
pub fn list(stage: &Stage) -> Result<Vec<Row>> {
    let pairs = Pairs::take(
        QUICK.0,
        QUICK.1,
        || ended(stage.workspace.command(&["list"])?),
        || ended(stage.peer.command(&["list"])?),
    )?;
    let what = format!("`list` of 5 envs / `{} list`", stage.peer.program());
    let others = stage.others;
    let note = (others > 0).then(|| format!("the engine had {others} other instances"));
    Ok(vec![
        Row::pairs_below(&stage.engine, &what, &pairs, 0.3).noting(note),
    ])
}

/// `exec` of a command that does nothing.
pub fn exec(stage: &Stage) -> Result<Vec<Row>> {
    let instance = stage.instance("dev");
    let pairs = Pairs::take(
        QUICK.0,
        QUICK.1,
        || ended(stage.workspace.command(&["exec", "dev", "--", "true"])?),
        || ended(stage.peer.command(&["exec", &instance, "--", "true"])?),
    )?;
    let what = format!("`exec dev -- true` / `{} exec`", stage.peer.program());
    Ok(vec![Row::pairs_below(&stage.engine, &what, &pairs, 1.1)])
}

/// `container snapshot create` of an env that runs.
pub fn snapshot(stage: &Stage) -> Result<Vec<Row>> {
    let instance = stage.instance("agent-1");
    let (take, _) = stage.peer.snapshot_words();
    let taken = Cell::new(0);
    let name = || {
        taken.set(taken.get() + 1);
        format!("s{}", taken.get())
    };
    let pairs = Pairs::take(
        1,
        10,
        || {
            let arguments = ["container", "snapshot", "create", "agent-1", &name()];
            ended(stage.workspace.command(&arguments)?)
        },
        || {
            let name = name();
            let arguments = [take, &[instance.as_str(), &name]].concat();
            ended(stage.peer.command(&arguments)?)
        },
    )?;
    let what = format!(
        "`container snapshot create` / `{} snapshot`",
        stage.peer.program()
    );
    Ok(vec![Row::pairs(&stage.engine, &what, &pairs)])
}

/// `container reset` of an env that runs, until it runs again; by hand it takes three commands.
pub fn restore(stage: &Stage) -> Result<Vec<Row>> {
    let (workspace, peer) = (&stage.workspace, &stage.peer);
    let instance = stage.instance("agent-2");
    workspace.ok(&["container", "snapshot", "create", "review", SNAPSHOT])?;
    let on_it = [instance.as_str(), SNAPSHOT];
    let (take, restore) = peer.snapshot_words();
    peer.ok(&[take, &on_it].concat())?;
    let by_hand = || {
        let stopped = ended(peer.command(&["stop", "--force", &instance])?)?;
        let restored = ended(peer.command(&[restore, &on_it].concat())?)?;
        Ok(stopped + restored + ended(peer.command(&["start", &instance])?)?)
    };
    let pairs = Pairs::take(
        SLOW.0,
        SLOW.1,
        || ended(workspace.command(&["container", "reset", "review", SNAPSHOT])?),
        by_hand,
    )?;
    let what = format!(
        "`container reset` / `{} stop -f`, `restore`, `start`",
        peer.program()
    );
    let note = "ours keeps what was there for undo, too";
    Ok(vec![
        Row::pairs(&stage.engine, &what, &pairs).noting(Some(note.to_owned())),
    ])
}

/// How long a command takes from its start to its end. It has to succeed.
pub fn ended(mut command: Command) -> Result<Duration> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = Instant::now();
    let Output { status, stderr, .. } = command.output()?;
    let taken = begun.elapsed();
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("{command:?} failed: {said}");
    }
    Ok(taken)
}
