//! `container create` until SSH responds, compared with the engine's launch until an address.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::Workspace;

use crate::pairs::{Pairs, time};
use crate::peer::Peer;
use crate::row::{Row, Target};

/// Seconds that our set-up may take.
const SET_UP: f64 = 1.0;
const SSH_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub fn create(engine: &TestEngine, label: &str) -> Result<Vec<Row>> {
    let peer = Peer::new(engine)?;
    let image = image();
    let pairs = Pairs::take(
        (1, 7),
        || {
            let workspace = Workspace::new(engine)?;
            time(|| until_ssh(&workspace, &image))
        },
        || {
            let instance = peer.new_instance();
            time(|| {
                peer.ok(&["launch", &image, &instance.name])?;
                peer.wait_for_address(&instance.name)
            })
        },
    )?;
    let what = format!(
        "`container create` until SSH answers / `{} launch` until an address",
        peer.program()
    );
    let more = pairs.median(|ours, peer| ours - peer);
    let row = Row::commands(label, &what, &pairs, Target::None);
    Ok(vec![row.with_difference(more, SET_UP, "s more")])
}

fn until_ssh(workspace: &Workspace, image: &str) -> Result<()> {
    let output = workspace.ok(&["--json", "container", "create", "dev", image])?;
    let created: serde_json::Value = serde_json::from_str(&output)?;
    let address = created["address"].as_str().context("no address")?;
    let address: IpAddr = address.parse()?;
    let started = Instant::now();
    while started.elapsed() < SSH_TIMEOUT {
        if banner(address).is_ok_and(|line| line.starts_with("SSH-")) {
            return Ok(());
        }
        // A closed port sends no event when it opens.
        std::thread::sleep(Duration::from_millis(5));
    }
    bail!("no SSH at {address}")
}

fn banner(address: IpAddr) -> Result<String> {
    let stream = TcpStream::connect_timeout(&SocketAddr::new(address, 22), CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}
