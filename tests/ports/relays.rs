//! Relays in guests.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::listeners;
use lxc_dev_manager_core::model::InstanceName;
use lxc_dev_manager_tests::engines::{TestEngine, busybox_image};
use lxc_dev_manager_tests::service;
use lxc_dev_manager_tests::workspace::Workspace;
use tokio::io::AsyncReadExt;

use crate::guest::{Guest, debian, port, with_guests};

pub fn concurrent_dials_start_one_relay(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[guest]| {
        let backend = guest.backend.as_ref();
        service::start(backend, &guest.name, "127.0.0.1", 8003).await?;
        // No relay runs before it is needed.
        let route = backend.route(&guest.name).await?;
        ensure!(guest.relays().await? == 0, "relay runs already");
        let other = backend.route(&guest.name).await?;
        let dials = (0..20).flat_map(|_| [route.dial(port(8003)), other.dial(port(8003))]);
        let streams = try_join_all(dials).await?;
        ensure!(guest.relays().await? == 1, "expected one relay");
        try_join_all(streams.into_iter().map(|one| service::echo(one, b"one"))).await?;
        Ok(())
    })
}

pub fn killed_relay_is_replaced(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[guest]| {
        let backend = guest.backend.as_ref();
        service::start(backend, &guest.name, "127.0.0.1", 8003).await?;
        let route = backend.route(&guest.name).await?;
        for _ in 0..2 {
            service::echo(route.dial(port(8003)).await?, b"before").await?;
        }
        guest.kill_relays().await?;
        service::echo(route.dial(port(8003)).await?, b"after").await?;
        ensure!(guest.relays().await? == 1, "expected one relay");
        Ok(())
    })
}

pub fn dials_leak_no_descriptors(engine: &TestEngine) -> Result<()> {
    let open = || Ok::<_, std::io::Error>(std::fs::read_dir("/proc/self/fd")?.count());
    with_guests(engine, &debian(), async |[guest]| {
        let backend = guest.backend.as_ref();
        service::start(backend, &guest.name, "0.0.0.0", 8001).await?;
        service::start(backend, &guest.name, "127.0.0.1", 8003).await?;
        let route = backend.route(&guest.name).await?;
        route.dial(port(8003)).await?;
        let before = open()?;
        for _ in 0..50 {
            for number in [8001, 8003] {
                service::echo(route.dial(port(number)).await?, b"bytes").await?;
                drop(route.dial(port(number)).await?);
            }
            let refused = route.dial(port(9)).await.map(drop);
            ensure!(
                refused.is_err_and(|error| error.kind() == ErrorKind::Guest),
                "dial not refused"
            );
        }
        let after = open()?;
        ensure!(
            before == after,
            "{before} descriptors before, {after} after"
        );
        Ok(())
    })
}

pub fn relay_handles_many_connections(engine: &TestEngine) -> Result<()> {
    const MANY: usize = 400;
    with_guests(engine, &debian(), async |[guest]| {
        let backend = guest.backend.as_ref();
        service::start(backend, &guest.name, "127.0.0.1", 8003).await?;
        let route = backend.route(&guest.name).await?;
        let streams = try_join_all((0..MANY).map(|_| route.dial(port(8003)))).await?;
        let bytes = service::bytes(20_000);
        let passed = join_all(streams.into_iter().map(|one| service::echo(one, &bytes))).await;
        for each in passed {
            each?;
        }
        Ok(())
    })
}

/// The image has neither a package manager nor the host's C library.
pub fn relay_runs_on_busybox(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &busybox_image(), async |[guest]| {
        let backend = guest.backend.as_ref();
        let keys = "ssh-keygen -A && mkdir -p /run/sshd && exec /usr/sbin/sshd -f /dev/null -o Port=2222 \
                    -o ListenAddress=127.0.0.1";
        guest.run(&["sh", "-c", keys]).await?;
        let route = backend.route(&guest.name).await?;
        let mut stream = route.dial(port(2222)).await?;
        let mut banner = [0; 8];
        stream.read_exact(&mut banner).await?;
        ensure!(&banner == b"SSH-2.0-", "{banner:?}");
        let found = listeners(backend, &guest.name).await?;
        let sshd = found.iter().find(|one| one.port == port(2222));
        let name = sshd
            .and_then(|one| one.process.as_ref())
            .map(|process| &process.name);
        ensure!(name.is_some_and(|name| name == "sshd"), "{found:?}");
        Ok(())
    })
}

pub fn relay_uses_an_executable_directory(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[guest]| {
        let backend = guest.backend.as_ref();
        service::start(backend, &guest.name, "127.0.0.1", 8003).await?;
        guest
            .run(&["mount", "-o", "remount,noexec", "/run"])
            .await?;
        let route = backend.route(&guest.name).await?;
        service::echo(route.dial(port(8003)).await?, b"elsewhere").await?;
        let put = guest.run(&["ls", "-A", "/var/lib/lxc-dev-manager"]).await?;
        ensure!(put.starts_with("ldm-relay-"), "{put:?}");
        let mode = guest
            .run(&["stat", "-c", "%a %u", "/var/lib/lxc-dev-manager"])
            .await?;
        ensure!(mode == "700 0", "{mode}");
        guest.kill_relays().await?;
        let nothing = ["mount", "-t", "tmpfs", "-o", "noexec", "none", "/var/lib"];
        guest.run(&nothing).await?;
        let refused = route.dial(port(8003)).await.map(drop);
        ensure!(
            refused
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Unsupported),
            "{refused:?}"
        );
        // Services on all addresses need no relay.
        service::start(backend, &guest.name, "0.0.0.0", 8001).await?;
        service::echo(route.dial(port(8001)).await?, b"straight").await
    })
}

/// The process is killed, so it cannot stop the relay itself.
pub fn relay_ends_with_its_process(engine: &TestEngine) -> Result<()> {
    /// Shorter than the idle timeout of a relay.
    const TIMEOUT: Duration = Duration::from_secs(20);
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let guest = Guest {
        backend: engine.backend(),
        name: format!("{}-dev", workspace.project).parse()?,
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let backend = guest.backend.as_ref();
    runtime.block_on(service::start(backend, &guest.name, "127.0.0.1", 8003))?;
    let mut dial = workspace
        .command(&["dial", "dev", "8003"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    dial.stdin
        .as_mut()
        .context("no stdin")?
        .write_all(b"ehere")?;
    let mut received = [0; 4];
    dial.stdout
        .as_mut()
        .context("no stdout")?
        .read_exact(&mut received)?;
    ensure!(&received == b"here", "{received:?}");
    ensure!(runtime.block_on(guest.relays())? == 1, "expected one relay");
    dial.kill()?;
    dial.wait()?;
    let begun = Instant::now();
    while runtime.block_on(guest.relays())? > 0 {
        ensure!(begun.elapsed() < TIMEOUT, "relay still running");
    }
    Ok(())
}

/// As at a remote. Uses the CLI, which has the key and the user.
pub fn falls_back_to_ssh_without_relay(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let name: InstanceName = format!("{}-dev", workspace.project).parse()?;
    for place in ["/run/lxc-dev-manager", "/var/lib"] {
        let root = ["exec", "-u", "root", "dev", "--"];
        workspace.ok(&[&root[..], &["mkdir", "-p", place]].concat())?;
        let nothing = ["mount", "-t", "tmpfs", "-o", "noexec", "none", place];
        workspace.ok(&[&root[..], &nothing].concat())?;
    }
    let runtime = tokio::runtime::Runtime::new()?;
    let backend = engine.backend();
    runtime.block_on(service::start(backend.as_ref(), &name, "127.0.0.1", 8003))?;
    let mut dial = workspace
        .command(&["dial", "dev", "8003"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = dial.stdin.take().context("no stdin")?;
    stdin.write_all(b"eover ssh, ")?;
    drop(stdin);
    let output = dial.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    ensure!(output.stdout == b"over ssh, end", "{output:?}");
    Ok(())
}
