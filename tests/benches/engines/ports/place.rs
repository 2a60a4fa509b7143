//! An env with services, and all routes to them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::stage::{Running, Stage, free_port};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::load;
use crate::peer::Peer;
use crate::processes;

const ENV: &str = "a";
/// Enough for the forwarder's idle connections.
const DESCRIPTORS: u64 = 40_000;
/// Service and client, in the env.
const GUEST_PROGRAM: &str = "/usr/local/bin/ldm-traffic";
const ROUTE_TIMEOUT: Duration = Duration::from_secs(20);

/// A route to a service.
pub struct Way {
    pub name: String,
    pub address: SocketAddr,
    pub cost: Cost,
}

/// Processes that work for a route.
pub enum Cost {
    /// The kernel alone.
    None,
    /// A process and its descendants.
    Tree(u32),
    /// Our process, and the relay in this instance.
    Relayed { proxy: u32, instance: String },
    /// The engine's processes for the device with this address.
    Device { listen: String },
}

impl Cost {
    /// Seconds of processor time until now.
    pub fn seconds(&self) -> Result<f64> {
        let pids = match self {
            Self::None => Vec::new(),
            Self::Tree(root) => processes::tree(*root)?,
            Self::Relayed { proxy, instance } => {
                let relays = processes::all()?.into_iter();
                let relays = relays.filter(|pid| is_relay(*pid, instance));
                relays.chain(processes::tree(*proxy)?).collect()
            }
            Self::Device { listen } => {
                let all = processes::all()?.into_iter();
                all.filter(|pid| is_device(*pid, listen)).collect()
            }
        };
        let ticks = processes::ticks(&pids) as f64;
        Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
    }
}

fn is_relay(pid: u32, instance: &str) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    read("comm").starts_with("ldm-relay") && read("cgroup").contains(instance)
}

fn is_device(pid: u32, listen: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    words.contains(&b"forkproxy".as_slice()) && words.contains(&listen.as_bytes())
}

/// Ends its processes when dropped.
pub struct Place {
    pub proxy: Running,
    /// To the service on all addresses: a direct connection, ours, the engine's device, socat.
    pub outside: Vec<Way>,
    /// To the service on the env's loopback: ours, the engine's device.
    pub inside: Vec<Way>,
    /// A port without a service.
    pub late_port: u16,
    /// Service and client, on the host.
    pub program: PathBuf,
    _children: Vec<KilledOnDrop>,
    _stage: Stage,
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Raises the limit of descriptors as far as allowed.
pub fn raise_descriptor_limit() {
    let now = getrlimit(Resource::Nofile);
    let both = |value| Rlimit {
        current: value,
        maximum: value,
    };
    let raised = now.maximum.map(|limit| limit.max(DESCRIPTORS));
    // Only root may raise the maximum.
    if setrlimit(Resource::Nofile, both(raised)).is_err() {
        let _ = setrlimit(Resource::Nofile, both(now.maximum));
    }
}

impl Place {
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let program = build_traffic()?;
        let stage = Stage::new(engine, &[ENV])?;
        let (port, inside_port, late_port) = (stage.port, free_port()?, free_port()?);
        let proxy = stage.proxy(&[ENV])?;
        for more in [inside_port, late_port] {
            let port = more.to_string();
            stage.workspace.ok(&["port", "add", ENV, &port])?;
        }
        let peer = Peer::new(engine)?;
        let instance = format!("{}-{ENV}", stage.workspace.project);
        let target = format!("{instance}{GUEST_PROGRAM}");
        let source = program.to_str().context("no UTF-8 path")?;
        peer.ok(&["file", "push", "--mode", "0755", source, &target])?;
        let direct = SocketAddr::new(peer.wait_for_address(&instance)?, port);
        let (socat, child) = socat(direct)?;
        let children = vec![
            serve(&peer, &instance, "0.0.0.0", port)?,
            serve(&peer, &instance, "127.0.0.1", inside_port)?,
            child,
        ];
        let forwarder = proxy.child.id();
        let outside = vec![
            way("straight", direct, Cost::None),
            way("ours", here(port), Cost::Tree(forwarder)),
            device(&peer, &instance, port)?,
            socat,
        ];
        let device = device(&peer, &instance, inside_port)?;
        let proxy_and_relay = Cost::Relayed {
            proxy: forwarder,
            instance,
        };
        let inside = vec![way("ours", here(inside_port), proxy_and_relay), device];
        for way in outside.iter().chain(&inside) {
            wait_until_open(way)?;
        }
        Ok(Self {
            proxy,
            outside,
            inside,
            late_port,
            program,
            _children: children,
            _stage: stage,
        })
    }

    /// The direct connection to the service on all addresses.
    pub fn direct(&self) -> &Way {
        &self.outside[0]
    }

    /// Our route to it.
    pub fn ours(&self) -> &Way {
        &self.outside[1]
    }
}

fn way(name: &str, address: SocketAddr, cost: Cost) -> Way {
    Way {
        name: name.to_owned(),
        address,
        cost,
    }
}

/// An address on this host's loopback.
pub fn here(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// Waits until a byte passes.
fn wait_until_open(way: &Way) -> Result<()> {
    let started = Instant::now();
    loop {
        match load::first_byte(way.address) {
            Ok(_) => return Ok(()),
            // Peers don't report when they listen.
            Err(_) if started.elapsed() < ROUTE_TIMEOUT => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error.context(format!("no connection by {}", way.name))),
        }
    }
}

/// Builds service and client as a static program, which runs in any env.
fn build_traffic() -> Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let target = bench.ancestors().nth(3).context("no build directory")?;
    let target = target.join("traffic");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--locked", "--release", "--quiet"])
        .args(["--package", "lxc-dev-manager-traffic", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .status()?;
    ensure!(built.success(), "cannot build lxc-dev-manager-traffic");
    Ok(target.join("release/lxc-dev-manager-traffic"))
}

fn serve(peer: &Peer, instance: &str, address: &str, port: u16) -> Result<KilledOnDrop> {
    let port = port.to_string();
    let serve = ["exec", instance, "--", GUEST_PROGRAM, "serve"];
    let mut command = peer.command(&[&serve[..], &[address, &port]].concat())?;
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(line == "listening\n", "no service: {line:?}");
    Ok(KilledOnDrop(child))
}

/// The engine's own device, which connects to the env's loopback.
fn device(peer: &Peer, instance: &str, port: u16) -> Result<Way> {
    let address = here(free_port()?);
    let listen = format!("tcp:{address}");
    let name = format!("p{port}");
    let add = ["config", "device", "add", instance, &name, "proxy"];
    let addresses = [
        &*format!("listen={listen}"),
        &format!("connect=tcp:127.0.0.1:{port}"),
    ];
    peer.ok(&[&add[..], &addresses].concat())?;
    let name = format!("`{}`'s proxy device", peer.program());
    Ok(way(&name, address, Cost::Device { listen }))
}

fn socat(target: SocketAddr) -> Result<(Way, KilledOnDrop)> {
    let address = here(free_port()?);
    let listen = format!(
        "TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr",
        address.port()
    );
    let child = Command::new("socat")
        .args([&listen, &format!("TCP:{target}")])
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run socat")?;
    let way = way("socat", address, Cost::Tree(child.id()));
    Ok((way, KilledOnDrop(child)))
}
