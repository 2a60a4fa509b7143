//! Copies of envs and of files, each against the same by the engine's own client.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::commands::ended;
use crate::pairs::Pairs;
use crate::row::{Part, Row, Verdict};
use crate::stage::Stage;

/// Pairs of what takes seconds, and how many come before the counted ones.
const SLOW: (usize, usize) = (1, 5);
/// What a clone may take beyond the engine's own calls: their tenth, and this for the identity, in seconds.
const IDENTITY: f64 = 0.150;
/// Size of the one big file.
const BIG: u64 = 1 << 30;
/// Directories and files in each of the many small ones.
const MANY: (usize, usize) = (200, 100);
/// Our memory while files travel, at most, in KiB.
const MEMORY: u64 = 64 * 1024;

/// `container clone` of an env that runs, until the copy runs; by hand it takes three commands.
pub fn clone(stage: &Stage) -> Result<Vec<Row>> {
    let (workspace, peer) = (&stage.workspace, &stage.peer);
    let instance = stage.instance("main");
    let (take, _) = peer.snapshot_words();
    let mut number = 0;
    let pairs = Pairs::take(
        SLOW.0,
        SLOW.1,
        || {
            number += 1;
            let name = format!("copy-{number}");
            let taken = ended(workspace.command(&["container", "clone", "main", &name])?)?;
            workspace.ok(&["remove", "-f", &name])?;
            workspace.ok(&["gc", "--all", "-f"])?;
            Ok(taken)
        },
        || {
            let name = peer.new_instance();
            let mut taken = Duration::ZERO;
            let copy = ["copy", "--instance-only", &instance, &name];
            let snapshot = [take, &[name.as_str(), "initial-state"]].concat();
            for arguments in [&copy[..], &snapshot, &["start", &name]] {
                taken += ended(peer.command(arguments)?)?;
            }
            peer.delete(&name)?;
            Ok(taken)
        },
    )?;
    let beyond = pairs.beyond(1.1);
    let what = format!(
        "`container clone` / `{} copy`, `snapshot`, `start`",
        peer.program()
    );
    Ok(vec![Row {
        compared: format!(
            "{:.2}, {:+.0} ms beyond 1.1 ×",
            pairs.ratio().median,
            beyond.median * 1000.0
        ),
        wanted: format!("≤ 1.1 × + {:.0} ms", IDENTITY * 1000.0),
        verdict: Verdict::below(beyond.median, IDENTITY),
        ..Row::pairs(&stage.engine, &what, &pairs)
    }])
}

/// `mv` of one big file and of many small ones into an env.
pub fn files(stage: &Stage) -> Result<Vec<Row>> {
    let source = stage.workspace.root.path().join("files");
    make_files(&source)?;
    let mut rows = Vec::new();
    for (name, what, limit) in [
        ("big", "1 GiB in one file", 1.0),
        ("many", "20,000 small files", 1.0 / 3.0),
    ] {
        rows.extend(push(stage, &source.join(name), what, limit)?);
    }
    fs::remove_dir_all(&source)?;
    Ok(rows)
}

/// What can't be packed any smaller, so that no filesystem does.
fn make_files(source: &Path) -> Result<()> {
    fs::create_dir_all(source.join("big"))?;
    let random = fs::File::open("/dev/urandom")?;
    let mut big = fs::File::create(source.join("big/file"))?;
    std::io::copy(&mut std::io::Read::take(random, BIG), &mut big)?;
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
    let from = source.to_str().context("a path that is no text")?;
    let clear = || workspace.ok(&["exec", "-u", "root", "main", "--", "rm", "-rf", "/srv/in"]);
    let make = || {
        clear()?;
        workspace.ok(&["exec", "-u", "root", "main", "--", "mkdir", "-p", "/srv/in"])
    };
    let target = format!("{}/srv/in/", stage.instance("main"));
    let mut peaks = Vec::new();
    let pairs = Pairs::take(
        1,
        3,
        || {
            make()?;
            let (taken, peak) = measured(workspace.command(&["mv", from, "main:/srv/in/"])?)?;
            peaks.push(peak);
            Ok(taken)
        },
        || {
            make()?;
            ended(peer.command(&["file", "push", "--quiet", "-r", from, &target])?)
        },
    )?;
    clear()?;
    let peak = peaks.iter().copied().max().unwrap_or_default();
    let title = format!("`mv` of {what} / `{} file push -r`", peer.program());
    let memory = Row {
        wanted: format!("≤ {} MiB", MEMORY / 1024),
        verdict: if peak <= MEMORY {
            Verdict::Reached
        } else {
            Verdict::Missed
        },
        ..Row::figure(
            Part::Commands,
            &stage.engine,
            &format!("greatest memory of `mv` of {what}"),
            format!("{} MiB", peak / 1024),
        )
    };
    let row = Row {
        wanted: format!("≤ {limit:.2}"),
        verdict: Verdict::below(pairs.ratio().median, limit),
        ..Row::pairs(&stage.engine, &title, &pairs)
    };
    Ok(vec![row, memory])
}

/// How long a command takes, and the most memory that it had, in KiB, as GNU `time` tells.
fn measured(command: Command) -> Result<(Duration, u64)> {
    let out = tempfile::NamedTempFile::new()?;
    let mut timed = Command::new("/usr/bin/time");
    timed
        .args(["-f", "%M", "-o"])
        .arg(out.path())
        .arg(command.get_program())
        .args(command.get_args());
    timed.env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            timed.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        timed.current_dir(directory);
    }
    let taken = ended(timed)?;
    let peak = fs::read_to_string(out.path())?;
    Ok((taken, peak.trim().parse()?))
}

/// How long the command line itself takes to start, against a program that does nothing at all.
pub fn start(stage: &Stage) -> Result<Vec<Row>> {
    let pairs = Pairs::take(
        10,
        100,
        || ended(stage.workspace.command(&["--version"])?),
        || ended(Command::new("true")),
    )?;
    let what = "`--version` / `true`";
    Ok(vec![Row::pairs_below(&stage.engine, what, &pairs, 2.0)])
}

/// `list` against one request of the same data by a program that does nothing else.
pub fn raw_list(stage: &Stage) -> Result<Vec<Row>> {
    let socket = stage.workspace.engine().socket.clone();
    let request = || {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "--unix-socket"]);
        command
            .arg(&socket)
            .arg("http://engine/1.0/instances?recursion=2");
        command
    };
    let pairs = Pairs::take(
        4,
        40,
        || ended(stage.workspace.command(&["list"])?),
        || ended(request()),
    )?;
    let what = "`list` of 5 envs / `curl` of one raw request";
    Ok(vec![Row::pairs_below(&stage.engine, what, &pairs, 1.3)])
}
