//! The way over SSH against `ssh -L`, to one service in one guest.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::LimaProject;
use lxc_dev_manager_tests::stage::free_port;

use super::NAME;
use crate::memory;
use crate::ports::cost::Cost;
use crate::ports::place::{Ended, Way, here, passable};
use crate::ports::{Compared, Wanted, load};
use crate::row::{Part, Row};

const ROUNDS: usize = 7;
const SPAN: Duration = Duration::from_millis(1200);
const STREAMS: [usize; 2] = [1, 8];
const CONNECTIONS: usize = 64;
/// Ours by `ssh -L`, at least.
const LIMIT: f64 = 0.8;
/// The program for both ends, in the guest.
const GUEST_PROGRAM: &str = "/tmp/ldm-traffic";

#[derive(Default)]
struct Found {
    rates: [Vec<f64>; 2],
    costs: Vec<f64>,
    requests: Vec<f64>,
    firsts: Vec<f64>,
}

/// The rows.
pub fn ports(project: &LimaProject, traffic: &Path) -> Result<Vec<Row>> {
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let port = free_port()?;
    project.ok(&["port", "add", "dev", &port.to_string()])?;
    let _service = serve(project, traffic, port)?;
    let (proxy, ours) = forwarder(project, port)?;
    let (ssh, peer) = ssh(project, port)?;
    let ways = [ours, peer];
    for way in &ways {
        passable(way)?;
    }
    let mut found = [Found::default(), Found::default()];
    for round in 0..ROUNDS {
        for turn in 0..ways.len() {
            let index = (round + turn) % ways.len();
            one(traffic, &ways[index], &mut found[index])?;
        }
    }
    let [ours, peer] = &found;
    let row = |what: &str, unit, of: fn(&Found) -> &Vec<f64>, wanted| {
        let compared = Compared {
            what: format!("{what} / `ssh -L`"),
            unit,
            ours: of(ours),
            peer: of(peer),
        };
        compared.row(NAME, wanted)
    };
    let mut rows = vec![
        row(
            "1 stream",
            "Gbit/s",
            |found| &found.rates[0],
            Wanted::AtLeast(LIMIT),
        ),
        row(
            "8 streams",
            "Gbit/s",
            |found| &found.rates[1],
            Wanted::AtLeast(LIMIT),
        ),
        row(
            "processor time a GiB",
            "s",
            |found| &found.costs,
            Wanted::Nothing,
        ),
        row(
            &format!("requests by {CONNECTIONS} kept connections"),
            "a second",
            |found| &found.requests,
            Wanted::Nothing,
        ),
        row(
            "a connection's first byte there and back",
            "ms",
            |found| &found.firsts,
            Wanted::Nothing,
        ),
    ];
    let pss = |root| memory::read(root).map(|memory| format!("{:.1} MiB", memory.pss));
    rows.push(Row {
        peer: pss(ssh.0.id())?,
        ..Row::figure(
            Part::Ports,
            NAME,
            "memory (PSS) after all this / of `ssh -L`",
            pss(proxy.0.id())?,
        )
    });
    Ok(rows)
}

fn one(traffic: &Path, way: &Way, found: &mut Found) -> Result<()> {
    for (index, streams) in STREAMS.into_iter().enumerate() {
        let before = way.cost.seconds()?;
        let rate = load::rate(way.address, streams, SPAN, None)?;
        found.rates[index].push(rate * 8.0 / 1e9);
        if streams == 1 {
            let gib = rate * SPAN.as_secs_f64() / f64::from(1 << 30);
            found.costs.push((way.cost.seconds()? - before) / gib);
        }
    }
    let requests = load::requests(traffic, way.address, CONNECTIONS, SPAN)?;
    found.requests.push(requests);
    for _ in 0..20 {
        found.firsts.push(load::first_byte(way.address)? * 1000.0);
    }
    Ok(())
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

fn forwarder(project: &LimaProject, port: u16) -> Result<(Ended, Way)> {
    let child = said(project.command(&["proxy", "dev"]), "")?;
    let cost = Cost::Ours {
        proxy: child.id(),
        relay_of: None,
    };
    Ok((Ended(child), way("ours", here(port), cost)))
}

fn ssh(project: &LimaProject, port: u16) -> Result<(Ended, Way)> {
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
    let cost = Cost::Tree(child.id());
    Ok((Ended(child), way("`ssh -L`", address, cost)))
}

fn way(name: &str, address: SocketAddr, cost: Cost) -> Way {
    Way {
        name: name.to_owned(),
        address,
        cost,
    }
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
