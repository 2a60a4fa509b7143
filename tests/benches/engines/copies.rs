//! Copies of envs and of files, compared with the engine's own client.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::commands::run;
use crate::pairs::Pairs;
use crate::row::{Row, Section, Target};
use crate::stage::Stage;

/// Seconds that a clone may take beyond 1.1 times the engine's own calls, for the identity.
const IDENTITY: f64 = 0.150;
const BIG_BYTES: u64 = 1 << 30;
/// Directories, and files in each of them.
const MANY: (usize, usize) = (200, 100);
/// Limit of our memory during a transfer, in MiB.
const MEMORY_LIMIT: f64 = 64.0;

/// `container clone` of a running env until the copy runs; the peer needs three commands.
pub fn clone(stage: &Stage) -> Result<Vec<Row>> {
    let (workspace, peer) = (&stage.workspace, &stage.peer);
    let instance = stage.instance("main");
    let snapshot: &[&str] = match peer.program() {
        "lxc" => &["snapshot"],
        _ => &["snapshot", "create"],
    };
    let mut number = 0;
    let pairs = Pairs::take(
        (1, 5),
        || {
            number += 1;
            let name = format!("copy-{number}");
            let duration = run(workspace.command(&["container", "clone", "main", &name])?)?;
            workspace.ok(&["remove", "-f", &name])?;
            workspace.ok(&["gc", "--all", "-f"])?;
            Ok(duration)
        },
        || {
            let copy = peer.new_instance();
            let name = copy.name.as_str();
            let created = run(peer.command(&["copy", "--instance-only", &instance, name])?)?;
            let snapshot = [snapshot, &[name, "initial-state"]].concat();
            let taken = run(peer.command(&snapshot)?)?;
            Ok(created + taken + run(peer.command(&["start", name])?)?)
        },
    )?;
    let what = format!(
        "`container clone` / `{} copy`, `snapshot`, `start`",
        peer.program()
    );
    let beyond = pairs.median(|ours, peer| ours - 1.1 * peer);
    let row = Row::commands(&stage.engine, &what, &pairs, Target::None);
    Ok(vec![row.with_difference(
        beyond,
        IDENTITY,
        "s beyond 1.1 ×",
    )])
}

/// `mv` of one big file and of many small ones into an env.
pub fn files(stage: &Stage) -> Result<Vec<Row>> {
    let source = stage.workspace.root.path().join("files");
    make_files(&source)?;
    let mut rows = Vec::new();
    for (name, what, limit) in [
        ("big", "1 GiB in one file", 1.0),
        ("many", "20,000 small files", 0.33),
    ] {
        rows.extend(push(stage, &source.join(name), what, limit)?);
    }
    fs::remove_dir_all(&source)?;
    Ok(rows)
}

/// The big file is random, so no file system can compress it.
fn make_files(source: &Path) -> Result<()> {
    fs::create_dir_all(source.join("big"))?;
    let random = fs::File::open("/dev/urandom")?;
    let mut big = fs::File::create(source.join("big/file"))?;
    std::io::copy(&mut std::io::Read::take(random, BIG_BYTES), &mut big)?;
    for directory in 0..MANY.0 {
        let directory = source.join(format!("many/{directory}"));
        fs::create_dir_all(&directory)?;
        for file in 0..MANY.1 {
            fs::write(directory.join(file.to_string()), file.to_string())?;
        }
    }
    Ok(())
}

fn push(stage: &Stage, source: &Path, what: &str, limit: f64) -> Result<Vec<Row>> {
    let (workspace, peer) = (&stage.workspace, &stage.peer);
    let from = source.to_str().context("no UTF-8 path")?;
    let clear = || {
        let script = "rm -rf /srv/in && mkdir -p /srv/in";
        workspace.ok(&["exec", "-u", "root", "main", "--", "sh", "-c", script])
    };
    let target = format!("{}/srv/in/", stage.instance("main"));
    let mut memory = 0.0_f64;
    let pairs = Pairs::take(
        (1, 3),
        || {
            clear()?;
            let (duration, peak) = measured(&workspace.command(&["mv", from, "main:/srv/in/"])?)?;
            memory = memory.max(peak);
            Ok(duration)
        },
        || {
            clear()?;
            run(peer.command(&["file", "push", "--quiet", "-r", from, &target])?)
        },
    )?;
    clear()?;
    let title = format!("`mv` of {what} / `{} file push -r`", peer.program());
    let peak_title = format!("greatest memory of `mv` of {what}");
    let figure = format!("{memory:.0} MiB");
    Ok(vec![
        Row::commands(&stage.engine, &title, &pairs, Target::AtMost(limit)),
        Row::figure(Section::Commands, &stage.engine, &peak_title, figure).with_target(
            memory,
            Target::AtMost(MEMORY_LIMIT),
            "MiB",
        ),
    ])
}

/// Duration and peak memory (MiB) of a command, by GNU `time`.
fn measured(command: &Command) -> Result<(Duration, f64)> {
    let out = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-f", "%M", "-o"])
        .arg(out.path())
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    let duration = run(timed)?;
    let kib: f64 = fs::read_to_string(out.path())?.trim().parse()?;
    Ok((duration, kib / 1024.0))
}
