//! Ten thousand connections on which nothing happens.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::stage::Running;
use rustix::process::{Resource, getrlimit};

use super::Wanted;
use super::place::{ENV, Place, connect, passable};
use crate::memory;
use crate::row::{Part, Row, Verdict};

/// As many, where this machine allows their descriptors: who forwards needs two of each, and these besides.
const CONNECTIONS: u64 = 10_000;
const BESIDES: u64 = 100;
/// As long as it may take until all that was needed to connect is given back.
const CALM: Duration = Duration::from_secs(2);
/// As long as nothing has to happen.
const SPAN: Duration = Duration::from_secs(5);
/// Pooled pipes, with two ends each.
const SPARE_ENDS: usize = 2 * 64;
/// Who isn't root: a user whom every system has, with the group that may talk to the engines of tests.
const NOBODY: [&str; 5] = ["--reuid", "65534", "--regid", "0", "--clear-groups"];

/// The rows, for root and for a user who isn't.
pub fn idle(place: &mut Place, engine: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for root in [true, false] {
        let who = if root { "" } else { ", not as root" };
        let what = format!("{} idle connections{who}", connections());
        let found = if root {
            rows_of(place, engine, &what)
        } else {
            as_nobody(place).and_then(|()| rows_of(place, engine, &what))
        };
        match found {
            Ok(found) => rows.extend(found),
            Err(error) => {
                let why = format!("{error:#}");
                rows.push(Row::unmeasured(Part::Ports, engine, &what, why));
            }
        }
    }
    rows
}

fn rows_of(place: &Place, engine: &str, what: &str) -> Result<Vec<Row>> {
    let pid = place.proxy.child.id();
    let (memory_before, pipes_before) = (memory::read(pid)?, pipes(pid)?);
    let clients = connect_all(place)?;
    // This is the measurement itself: what is to be seen is that nothing happens.
    std::thread::sleep(CALM);
    let ticks = memory::ticks(pid)?;
    std::thread::sleep(SPAN);
    let ticks = memory::ticks(pid)? - ticks;
    let (memory, pipes) = (memory::read(pid)?, pipes(pid)?);
    let pipes = pipes.saturating_sub(pipes_before);
    let kib = |after: f64, before: f64| (after - before) * 1024.0 / clients.len() as f64;
    let pss = kib(memory.pss, memory_before.pss);
    let figure = |name: &str, ours: String, wanted: String, verdict| Row {
        wanted,
        verdict,
        ..Row::figure(Part::Ports, engine, &format!("{what}: {name}"), ours)
    };
    let most = Wanted::AtMost(4.0);
    let note = format!("RSS {:.2} KiB each", kib(memory.rss, memory_before.rss));
    Ok(vec![
        figure(
            "memory of each",
            format!("{pss:.2} KiB"),
            format!("{} KiB", most.text()),
            most.verdict(pss),
        )
        .noting(Some(note)),
        figure(
            "pipes",
            (pipes / 2).to_string(),
            "spare ones only".to_owned(),
            if pipes <= SPARE_ENDS {
                Verdict::Reached
            } else {
                Verdict::Missed
            },
        ),
        figure(
            "ticks of processor time in 5 s",
            ticks.to_string(),
            "0".to_owned(),
            Verdict::below(ticks as f64, 0.0),
        ),
    ])
}

/// How many there are to be.
fn connections() -> u64 {
    let allowed = getrlimit(Resource::Nofile).maximum;
    allowed.map_or(CONNECTIONS, |most| {
        CONNECTIONS.min(most.saturating_sub(BESIDES) / 2)
    })
}

fn connect_all(place: &Place) -> Result<Vec<TcpStream>> {
    let mut clients = Vec::new();
    for number in 0..connections() {
        let one = || {
            let mut client = connect(place.ours().address)?;
            client.write_all(b"h")?;
            client.read_exact(&mut [0])?;
            anyhow::Ok(client)
        };
        clients.push(one().with_context(|| format!("connection {number}"))?);
    }
    Ok(clients)
}

/// Ends of pipes that a process has.
fn pipes(pid: u32) -> Result<usize> {
    let all = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let targets = all.filter_map(|entry| fs::read_link(entry.path()).ok());
    let is_pipe = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("pipe:");
    Ok(targets.filter(is_pipe).count())
}

/// Has a user who isn't root forward instead.
fn as_nobody(place: &mut Place) -> Result<()> {
    place.proxy.kill()?;
    let root = place.stage.workspace.root.path();
    let given = Command::new("chown")
        .args(["-R", "65534:0"])
        .arg(root)
        .status()?;
    ensure!(
        given.success(),
        "the project can't be given to another user"
    );
    let ours = place.stage.workspace.command(&["proxy", ENV])?;
    let mut command = Command::new("setpriv");
    command
        .args(NOBODY)
        .arg(ours.get_program())
        .args(ours.get_args())
        .current_dir(place.stage.workspace.directory())
        .env_clear()
        .envs(place.stage.workspace.variables())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?);
    place.proxy = Running { child, lines };
    let line = place.proxy.line()?;
    ensure!(!line.is_empty(), "it doesn't forward");
    passable(place.ours())
}
