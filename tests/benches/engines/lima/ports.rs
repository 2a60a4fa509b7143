//! The way over SSH against `ssh -L`, to one service in one guest.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::LimaProject;
use lxc_dev_manager_tests::stage::free_port;

use super::name;
use crate::memory;
use crate::ports::cost::Cost;
use crate::ports::place::{Ended, Way, by_process, here, passable};
use crate::ports::throughput::{self, CONNECTIONS, Found};
use crate::ports::{Compared, Wanted, load};
use crate::row::{Part, Row};

/// Connections of which each is timed.
const CONNECTS: usize = 140;
/// Ours by `ssh -L`, at least.
const LIMIT: f64 = 0.8;
/// The program for both ends, in the guest.
const GUEST_PROGRAM: &str = "/tmp/ldm-traffic";

/// The rows.
pub fn ports(project: &LimaProject, traffic: &Path) -> Result<Vec<Row>> {
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let port = free_port()?;
    project.ok(&["port", "add", "dev", &port.to_string()])?;
    let _service = serve(project, traffic, port)?;
    let (ours, proxy) = forwarder(project, port)?;
    let (peer, ssh) = ssh(project, port)?;
    let ways = [ours, peer];
    for way in &ways {
        passable(way)?;
    }
    let found = throughput::measure(traffic, &ways)?;
    let firsts = first_bytes(&ways)?;
    let engine = name(project.stage());
    let row = |what: &str, unit, [ours, peer]: [&Vec<f64>; 2], wanted| {
        let compared = Compared {
            what: format!("{what} / `ssh -L`"),
            unit,
            ours,
            peer,
        };
        compared.row(engine, wanted)
    };
    let both = |of: fn(&Found) -> &Vec<f64>| [of(&found[0]), of(&found[1])];
    let mut rows = vec![
        row(
            "1 stream",
            "Gbit/s",
            both(|found| &found.rates[0]),
            Wanted::AtLeast(LIMIT),
        ),
        row(
            "8 streams",
            "Gbit/s",
            both(|found| &found.rates[1]),
            Wanted::AtLeast(LIMIT),
        ),
        row(
            "processor time a GiB",
            "s",
            both(|found| &found.costs),
            Wanted::Nothing,
        ),
        row(
            &format!("requests by {CONNECTIONS} kept connections"),
            "a second",
            both(|found| &found.requests),
            Wanted::Nothing,
        ),
        row(
            "a connection's first byte there and back",
            "ms",
            firsts.each_ref(),
            Wanted::Nothing,
        ),
    ];
    let pss = |root| memory::read(root).map(|memory| format!("{:.1} MiB", memory.pss));
    rows.push(Row {
        peer: pss(ssh.0.id())?,
        ..Row::figure(
            Part::Ports,
            engine,
            "memory (PSS) after all this / of `ssh -L`",
            pss(proxy.0.id())?,
        )
    });
    Ok(rows)
}

/// Milliseconds until a new connection has carried a byte there and back, by way, in turns.
fn first_bytes(ways: &[Way; 2]) -> Result<[Vec<f64>; 2]> {
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..CONNECTS {
        for (way, found) in ways.iter().zip(&mut found) {
            found.push(load::first_byte(way.address)? * 1000.0);
        }
    }
    Ok(found)
}

/// The service in the guest.
fn serve(project: &LimaProject, traffic: &Path, port: u16) -> Result<Ended> {
    let script = "umask 077; cat >\"$0\" && chmod 0700 \"$0\"";
    let pushed = project
        .command(&["exec", "dev", "--", "sh", "-c", script, GUEST_PROGRAM])
        .stdin(File::open(traffic)?)
        .output()?;
    ensure!(pushed.status.success(), "{pushed:?}");
    let port = port.to_string();
    let serve = [
        "exec",
        "dev",
        "--",
        GUEST_PROGRAM,
        "serve",
        "127.0.0.1",
        &port,
    ];
    let child = said(project.command(&serve), "listening")?;
    Ok(Ended(child))
}

fn forwarder(project: &LimaProject, port: u16) -> Result<(Way, Ended)> {
    let child = said(project.command(&["proxy", "dev"]), "")?;
    let cost = Cost::Ours {
        proxy: child.id(),
        relay_of: None,
    };
    let way = Way {
        name: "ours".to_owned(),
        address: here(port),
        cost,
    };
    Ok((way, Ended(child)))
}

fn ssh(project: &LimaProject, port: u16) -> Result<(Way, Ended)> {
    let address = here(free_port()?);
    let config = project.stage().instance("web-dev").join("ssh.config");
    let child = Command::new("ssh")
        .args(["-N", "-F"])
        .arg(config)
        // Lima's own shared connection would do the work.
        .args(["-o", "ControlMaster=no", "-o", "ControlPath=none"])
        .args(["-o", "LogLevel=ERROR", "-o", "BatchMode=yes"])
        .args(["-L", &format!("{address}:127.0.0.1:{port}")])
        .arg("lima-web-dev")
        .stdin(Stdio::null())
        .spawn()
        .context("ssh can't be started")?;
    Ok(by_process("`ssh -L`", address, child))
}

/// A child that has said its first line, which begins so.
fn said(mut command: Command, begin: &str) -> Result<Child> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    let mut line = String::new();
    let mut lines = BufReader::new(output);
    lines.read_line(&mut line)?;
    ensure!(!line.is_empty() && line.starts_with(begin), "said {line:?}");
    // What it says later must not stop it.
    std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
    Ok(child)
}
