//! Which way to a service on a guest's own loopback is best: bytes a second of each, in one run, in turns.
//!
//! The service sends as fast as it can; a client on this machine takes what comes. In front of our ways
//! stands the forwarder, and in front of the engine's device on a Unix socket a loop that splices.
//! `cargo bench -p lxc-dev-manager-tests --bench ways`; docs/benchmarks.md has what came out.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use lxc_dev_manager_core::backend::{
    Backend, ExecSpec, GuestStream, LaunchSpec, Marks, Progress, Route, Settings, capture,
};
use lxc_dev_manager_core::model::{GuestPort, HostPort, InstanceName, ListenScope};
use lxc_dev_manager_core::provision;
use lxc_dev_manager_core::proxy::{
    RouteName, Routes, Service, Shared, Table, Upstream, bind, serve,
};
use lxc_dev_manager_core::view::EnvRef;
use lxc_dev_manager_tests::engines::{self, TestEngine};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Sends zeros to whoever comes. Arguments: address, port.
const SOURCE: &str = "use Socket; my ($address, $port) = @ARGV; \
    socket(my $l, PF_INET, SOCK_STREAM, 0); setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1); \
    bind($l, pack_sockaddr_in($port, inet_aton($address))) or die $!; listen($l, 128); \
    exit 0 if fork(); close(STDIN); close(STDOUT); close(STDERR); $SIG{CHLD} = 'IGNORE'; \
    while (accept(my $c, $l)) { if (fork()) { close $c; next } \
        sysread($c, my $first, 1); exit 0 if $first eq 'q'; \
        if ($first eq 'e') { while (sysread($c, my $b, 1)) { syswrite($c, $b) } exit 0 } \
        my $z = \"\\0\" x 262144; 1 while syswrite($c, $z); exit 0 }";
/// How long one measurement takes.
const SPAN: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
/// The service on the guest's loopback, and the one on all addresses.
const INSIDE: u16 = 8003;
const OUTSIDE: u16 = 8001;
const PIPE: usize = 512 * 1024;

/// A connection by a way.
type Dial = Arc<dyn Fn() -> Result<OwnedFd> + Send + Sync>;

struct Guest {
    runtime: Runtime,
    backend: Arc<dyn Backend>,
    name: InstanceName,
    engine: TestEngine,
}

impl Guest {
    fn new(engine: &TestEngine) -> Result<Self> {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let guest = Self {
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .worker_threads(2)
                .build()?,
            backend: engine.backend(),
            name: format!("b{}", &random[..8]).parse()?,
            engine: engine.clone(),
        };
        guest.runtime.block_on(async {
            let backend = guest.backend.as_ref();
            let spec = LaunchSpec {
                name: guest.name.clone(),
                image: backend.find_image(&engines::image().parse()?).await?,
                marks: Marks::default(),
                settings: Settings::default(),
                user: lxc_dev_manager_core::model::UserName::dev(),
            };
            let (progress, cancel) = (Progress::none(), CancellationToken::new());
            backend.create(&spec, &progress, &cancel).await?;
            backend.start(&guest.name).await?;
            provision::wait_for_network(backend, &guest.name).await?;
            for (address, port) in [("127.0.0.1", INSIDE), ("0.0.0.0", OUTSIDE)] {
                let port = port.to_string();
                let spec = ExecSpec::new(["perl", "-e", SOURCE, address, &port]);
                let output = capture(backend, &guest.name, &spec, Vec::new()).await?;
                ensure!(output.code == 0, "{output:?}");
            }
            anyhow::Ok(())
        })?;
        Ok(guest)
    }

    /// Adds a proxy device of the engine's to the loopback service.
    fn add_device(&self, name: &str, listen: &str, more: &[&str]) -> Result<()> {
        let client = if self.engine.label() == "lxd" {
            "lxc"
        } else {
            "incus"
        };
        let status = Command::new(client)
            .args(["config", "device", "add", self.name.as_str(), name, "proxy"])
            .arg(format!("listen={listen}"))
            .arg(format!("connect=tcp:127.0.0.1:{INSIDE}"))
            .args(more)
            .env(self.engine.variable(), &self.engine.socket)
            .stdout(std::process::Stdio::null())
            .status()?;
        ensure!(status.success(), "no device {name}");
        Ok(())
    }

    /// The forwarder, in front of a port.
    fn forwarded(&self, route: &Arc<dyn Route>, port: u16) -> Result<SocketAddr> {
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let service = Port {
            route: route.clone(),
            port: GuestPort::new(port).context("no port")?,
        };
        let env = EnvRef {
            project_path: "/".to_owned(),
            env: "dev".parse()?,
        };
        let name = RouteName::of("dev", None);
        let routes = Arc::new(Routes::default());
        let table = Table {
            default: Some(Arc::new(Upstream::new(env, name, Arc::new(service)))),
            ..Table::default()
        };
        routes.set(table, Table::default());
        let host = HostPort::new(free.port()).context("no port")?;
        let _inside = self.runtime.enter();
        let listeners = Arc::new(bind(host, ListenScope::Loopback)?);
        let serving = serve(
            listeners,
            routes,
            Shared::default(),
            CancellationToken::new(),
        );
        self.runtime.spawn(serving);
        Ok(free)
    }
}

struct Port {
    route: Arc<dyn Route>,
    port: GuestPort,
}

#[async_trait]
impl Service for Port {
    async fn dial(&self) -> lxc_dev_manager_core::Result<GuestStream> {
        self.route.dial(self.port).await
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let ended = self.runtime.block_on(async {
            self.backend.stop(&self.name, true).await?;
            self.backend.delete(&self.name).await
        });
        if let Err(error) = ended {
            eprintln!("{} was left behind: {error:?}", self.name);
        }
    }
}

/// Listens here and leads each connection on by a way.
fn front(dial: Dial) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let dial = dial.clone();
            thread::spawn(move || {
                client.set_nodelay(true)?;
                let far = Arc::new(dial()?);
                let near = Arc::new(OwnedFd::from(client));
                let (a, b) = (near.clone(), far.clone());
                let up = thread::spawn(move || pump(&a, &b));
                pump(&far, &near)?;
                rustix::net::shutdown(&near, rustix::net::Shutdown::Both)?;
                drop(up.join());
                anyhow::Ok(())
            });
        }
    });
    Ok(address)
}

fn pump(from: impl AsFd, to: impl AsFd) -> Result<()> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&writer, PIPE)?;
    loop {
        let mut held = splice(&from, None, &writer, None, PIPE, SpliceFlags::MOVE)?;
        if held == 0 {
            rustix::net::shutdown(&to, rustix::net::Shutdown::Write)?;
            return Ok(());
        }
        while held > 0 {
            held -= splice(&reader, None, &to, None, held, SpliceFlags::MOVE)?;
        }
    }
}

/// Gbit/s of some streams at once.
fn rate(address: SocketAddr, streams: usize) -> Result<f64> {
    let begun = Instant::now();
    let takers: Vec<_> = (0..streams)
        .map(|_| {
            thread::spawn(move || -> Result<u64> {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(b"s")?;
                let (mut buffer, mut all) = (vec![0; 1 << 20], 0);
                while begun.elapsed() < SPAN {
                    match stream.read(&mut buffer)? {
                        0 => anyhow::bail!("it ended after {all} bytes"),
                        length => all += length as u64,
                    }
                }
                stream.shutdown(Shutdown::Both)?;
                Ok(all)
            })
        })
        .collect();
    let mut bytes = 0;
    for taker in takers {
        bytes += taker.join().ok().context("a client failed")??;
    }
    Ok(bytes as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9)
}

/// Microseconds until a connection has carried a byte there and back.
fn first_byte(address: SocketAddr) -> Result<f64> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(b"e1")?;
    stream.read_exact(&mut [0])?;
    Ok(begun.elapsed().as_secs_f64() * 1e6)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn on(engine: &TestEngine) -> Result<()> {
    let guest = Guest::new(engine)?;
    let (backend, name) = (guest.backend.clone(), guest.name.clone());
    let route = guest.runtime.block_on(backend.route(&name))?;
    let instance = guest.runtime.block_on(backend.instance(&name))?;
    let address = instance.address.context("no address")?;
    let sockets = tempfile::tempdir()?;
    let socket = sockets.path().join("device.sock");
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    guest.add_device("tcp", &format!("tcp:{free}"), &[])?;
    let listen = format!("unix:{}", socket.display());
    guest.add_device("unix", &listen, &["uid=0", "gid=0", "mode=0600"])?;
    let device: Dial = Arc::new(move || Ok(UnixStream::connect(&socket)?.into()));
    let ways: [(&str, SocketAddr); 5] = [
        (
            "straight, nothing between",
            SocketAddr::new(address, OUTSIDE),
        ),
        ("straight, our forwarder", guest.forwarded(&route, OUTSIDE)?),
        ("the engine's device on TCP", free),
        (
            "the engine's device on a Unix socket, a splicing loop",
            front(device)?,
        ),
        ("our relay, our forwarder", guest.forwarded(&route, INSIDE)?),
    ];
    let mut rates = vec![[Vec::new(), Vec::new()]; ways.len()];
    let mut firsts = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for (index, (_, address)) in ways.iter().enumerate() {
            rates[index][0].push(rate(*address, 1)?);
            rates[index][1].push(rate(*address, 8)?);
        }
        for _ in 0..100 {
            for (index, (_, address)) in ways.iter().enumerate() {
                firsts[index].push(first_byte(*address)?);
            }
        }
    }
    let label = engine.label();
    println!("| {label}: way | 1 stream, Gbit/s | 8 streams, Gbit/s | first byte, µs |");
    println!("|---|---|---|---|");
    for (index, (way, _)) in ways.iter().enumerate() {
        let [one, eight] = rates[index].clone().map(median);
        let first = median(firsts[index].clone());
        println!("| {way} | {one:.2} | {eight:.2} | {first:.0} |");
    }
    let port = GuestPort::new(9).context("no port")?;
    let mut refused = Vec::new();
    for _ in 0..500 {
        let begun = Instant::now();
        let dialled = guest.runtime.block_on(route.dial(port));
        refused.push(begun.elapsed().as_secs_f64() * 1e6);
        ensure!(dialled.is_err(), "something listens");
    }
    println!(
        "\n{label}: a refused dial takes {:.0} µs\n",
        median(refused)
    );
    Ok(())
}

fn main() -> Result<()> {
    let (found, missing) = engines::find();
    for label in missing {
        eprintln!("bench: skipped: {label} doesn't run (make engines)");
    }
    for engine in found {
        on(&engine)?;
    }
    Ok(())
}
