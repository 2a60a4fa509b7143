//! An env with services, and every way to them.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::stage::{Running, Stage, free_port};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::cost::Cost;
use crate::peer::Peer;

/// The env.
pub const ENV: &str = "a";
/// As many descriptors as the largest number of connections wants of one process, and some.
const DESCRIPTORS: u64 = 40_000;
/// The program for both ends, in the env.
const GUEST_PROGRAM: &str = "/usr/local/bin/ldm-traffic";
/// How long a route may take until it is open.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A way to a service.
pub struct Way {
    /// As it is called in rows.
    pub name: String,
    /// Where it begins.
    pub address: SocketAddr,
    /// Who works for it.
    pub cost: Cost,
}

/// The place. Everything in it ends with it.
pub struct Place {
    /// Who forwards for us.
    pub proxy: Running,
    /// To the service on all of the env's addresses: straight, ours, and the others'.
    pub outside: Vec<Way>,
    /// To the one on the env's loopback: ours, and the engine's device.
    pub inside: Vec<Way>,
    /// Where nobody listens yet, on this machine and in the env.
    pub late: u16,
    /// The program for both ends, on this machine.
    pub program: PathBuf,
    /// Our project.
    pub stage: Stage,
    _others: Vec<Ended>,
}

/// A foreign process that ends with the place.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Allows as many descriptors as are needed, where this user may have them.
pub fn raise_descriptors() {
    let now = getrlimit(Resource::Nofile);
    let raised = now.maximum.map(|most| most.max(DESCRIPTORS));
    let both = |value| Rlimit {
        current: value,
        maximum: value,
    };
    // Who isn't root has what is allowed now.
    if setrlimit(Resource::Nofile, both(raised)).is_err() {
        let _ = setrlimit(Resource::Nofile, both(now.maximum));
    }
}

impl Place {
    /// Makes the env, starts the services and opens the ways.
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let program = build()?;
        let stage = Stage::new(engine, &[ENV])?;
        let (port, inside, late) = (stage.port, free_port()?, free_port()?);
        let proxy = stage.proxy(&[ENV])?;
        for more in [inside, late] {
            stage
                .workspace
                .ok(&["port", "add", ENV, &more.to_string()])?;
        }
        let guest = Guest::new(engine, &stage, &program)?;
        let mut others = guest.serve(&[("0.0.0.0", port), ("127.0.0.1", inside)])?;
        let straight = SocketAddr::new(guest.address, port);
        let mut outside = vec![
            Way {
                name: "straight".to_owned(),
                address: straight,
                cost: Cost::Nobody,
            },
            ours(&proxy, port, None),
            guest.device(port)?,
        ];
        for peer in [guest.socat(straight)?, guest.ssh(&stage, port)?] {
            let (way, child) = peer;
            outside.push(way);
            others.push(child);
        }
        let relay = Some(guest.instance.clone());
        let inside = vec![ours(&proxy, inside, relay), guest.device(inside)?];
        for way in outside.iter().chain(&inside) {
            passable(way)?;
        }
        Ok(Self {
            proxy,
            outside,
            inside,
            late,
            program,
            stage,
            _others: others,
        })
    }

    /// The way of this name to the service on all addresses.
    pub fn straight(&self) -> &Way {
        &self.outside[0]
    }

    /// Our way to it.
    pub fn ours(&self) -> &Way {
        &self.outside[1]
    }
}

/// An address on this machine's loopback.
pub fn here(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn ours(proxy: &Running, port: u16, relay_of: Option<String>) -> Way {
    Way {
        name: "ours".to_owned(),
        address: here(port),
        cost: Cost::Ours {
            proxy: proxy.child.id(),
            relay_of,
        },
    }
}

/// Waits until a way lets a byte there and back.
pub fn passable(way: &Way) -> Result<()> {
    let begun = Instant::now();
    loop {
        match super::load::first_byte(way.address) {
            Ok(_) => return Ok(()),
            // Programs of others don't say when they listen.
            Err(_) if begun.elapsed() < TIMEOUT => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(error.context(format!("no way: {}", way.name))),
        }
    }
}

/// Builds the program for both ends: static, so that it runs in any env.
pub fn build() -> Result<PathBuf> {
    let bench = std::env::current_exe()?;
    let target = bench.ancestors().nth(3).context("no build directory")?;
    let target = target.join("traffic");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--locked", "--release", "--quiet"])
        .args(["--package", "lxc-dev-manager-traffic", "--target-dir"])
        .arg(&target)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .status()?;
    ensure!(built.success(), "the program for both ends can't be built");
    Ok(target.join("release/lxc-dev-manager-traffic"))
}

/// The env as the engine's own client sees it.
struct Guest {
    peer: Peer,
    instance: String,
    address: IpAddr,
}

impl Guest {
    fn new(engine: &TestEngine, stage: &Stage, program: &std::path::Path) -> Result<Self> {
        let peer = Peer::new(engine)?;
        let instance = format!("{}-{ENV}", stage.workspace.project);
        let address = peer.wait_for_address(&instance)?;
        let program = program.to_str().context("a path that is no text")?;
        let place = format!("{instance}{GUEST_PROGRAM}");
        peer.ok(&["file", "push", "--mode", "0755", program, &place])?;
        Ok(Self {
            peer,
            instance,
            address,
        })
    }

    fn serve(&self, addresses: &[(&str, u16)]) -> Result<Vec<Ended>> {
        let serve = |(address, port): &(&str, u16)| {
            let port = port.to_string();
            let words = [
                "exec",
                &self.instance,
                "--",
                GUEST_PROGRAM,
                "serve",
                address,
                &port,
            ];
            let mut child = self.peer.command(&words)?.stdout(Stdio::piped()).spawn()?;
            let output = child.stdout.take().context("no output")?;
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
            ensure!(line == "listening\n", "no service: {line:?}");
            Ok(Ended(child))
        };
        addresses.iter().map(serve).collect()
    }

    /// The engine's own device. It connects to the env's loopback, from inside.
    fn device(&self, port: u16) -> Result<Way> {
        let address = here(free_port()?);
        let (listen, connect) = (format!("tcp:{address}"), format!("tcp:127.0.0.1:{port}"));
        let name = format!("p{port}");
        self.peer.ok(&[
            "config",
            "device",
            "add",
            &self.instance,
            &name,
            "proxy",
            &format!("listen={listen}"),
            &format!("connect={connect}"),
        ])?;
        Ok(Way {
            name: format!("`{}`'s proxy device", self.peer.program()),
            address,
            cost: Cost::Device { listen },
        })
    }

    fn socat(&self, target: SocketAddr) -> Result<(Way, Ended)> {
        let address = here(free_port()?);
        let listen = format!(
            "TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr",
            address.port()
        );
        let child = Command::new("socat")
            .args([&listen, &format!("TCP:{target}")])
            .stderr(Stdio::null())
            .spawn()
            .context("socat can't be started")?;
        Ok(by_process("socat", address, child))
    }

    fn ssh(&self, stage: &Stage, port: u16) -> Result<(Way, Ended)> {
        let config = stage.workspace.ok(&["ssh-config", ENV, "--json"])?;
        let config: serde_json::Value = serde_json::from_str(&config)?;
        let word = |key: &str| {
            config[key]
                .as_str()
                .context("no such word")
                .map(str::to_owned)
        };
        let (user, key) = (word("user")?, word("identity")?);
        let address = here(free_port()?);
        let child = Command::new("ssh")
            .args(["-N", "-F", "/dev/null", "-i", &key])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "LogLevel=ERROR", "-o", "BatchMode=yes"])
            .args(["-L", &format!("{address}:127.0.0.1:{port}")])
            .arg(format!("{user}@{}", self.address))
            .stdin(Stdio::null())
            .spawn()
            .context("ssh can't be started")?;
        Ok(by_process("`ssh -L`", address, child))
    }
}

/// A way whose cost is that of one process and of those that it starts.
pub fn by_process(name: &str, address: SocketAddr, child: Child) -> (Way, Ended) {
    let way = Way {
        name: name.to_owned(),
        address,
        cost: Cost::Tree(child.id()),
    };
    (way, Ended(child))
}

/// A connection whose answers may not take for ever.
pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
