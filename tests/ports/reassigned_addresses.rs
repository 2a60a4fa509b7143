//! Addresses reassigned to another guest without an event, as for a process that was stopped meanwhile.

use std::time::Duration;

use anyhow::{Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::guest::{Guest, debian, port, with_guests};

/// Moves an address from one guest to another and updates the host's neighbour table.
async fn reassign(from: &Guest, to: &Guest, address: &str) -> Result<()> {
    let subnet = format!("{address}/24");
    from.run(&["ip", "address", "flush", "dev", "eth0"]).await?;
    to.run(&["ip", "address", "flush", "dev", "eth0"]).await?;
    to.run(&["ip", "address", "add", &subnet, "dev", "eth0"])
        .await?;
    let send_packet = "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); \
                 send($s, 'x', 0, pack_sockaddr_in(9, inet_aton($ARGV[0]))) or die $!";
    let (network, _) = address.rsplit_once('.').unwrap();
    // Any neighbour works: the ARP request is a broadcast.
    to.run(&["perl", "-e", send_packet, &format!("{network}.1")])
        .await?;
    Ok(())
}

/// Reads requests to a relay and responds, without its key, that it is connected.
const IMPOSTOR: &str = r#"use Socket;
socket(my $listener, PF_INET, SOCK_STREAM, 0) or die $!;
bind($listener, pack_sockaddr_in($ARGV[0], INADDR_ANY)) or die $!;
listen($listener, 16) or die $!;
exit 0 if fork();
close(STDIN);
close(STDOUT);
close(STDERR);
$SIG{PIPE} = 'IGNORE';
while (accept(my $client, $listener)) {
    my $request = '';
    while (length($request) < 18) { sysread($client, $request, 18, length($request)) or last }
    syswrite($client, "\0" x 17);
    close($client);
}
"#;

/// Checks that a dial is refused because the address is another guest's.
fn ensure_refused(
    dialled: lxc_dev_manager_core::Result<GuestStream>,
    address: &str,
    words: &str,
) -> Result<()> {
    let Err(error) = dialled else {
        anyhow::bail!("reached the other guest");
    };
    ensure!(error.kind() == ErrorKind::Conflict, "{error:?}");
    let message = error.to_string();
    ensure!(
        message.contains(address) && message.contains(words),
        "{error:?}"
    );
    Ok(())
}

pub fn reassigned_address_is_not_dialled(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[own, other]| {
        let (backend, address) = (own.backend.as_ref(), own.address().await?);
        service::start(backend, &own.name, "0.0.0.0", 8001).await?;
        let route = backend.route(&own.name).await?;
        service::echo(route.dial(port(8001)).await?, b"own").await?;
        service::start(backend, &other.name, "0.0.0.0", 8001).await?;
        service::start(backend, &other.name, "127.0.0.1", 8003).await?;
        reassign(own, other, &address).await?;
        // The other guest must respond at the address.
        let reached = tokio::net::TcpStream::connect((address.as_str(), 8001)).await?;
        service::echo(GuestStream::Socket(reached), b"other").await?;
        // The other guest accepts at the first port. It refuses at the others, so the own guest is asked for a relay,
        // but has lost the address.
        for (number, words) in [
            (8001, "no longer belongs to"),
            (8001, "no longer belongs to"),
            (8003, "is no longer the address of"),
            (9, "is no longer the address of"),
        ] {
            ensure_refused(route.dial(port(number)).await, &address, words)?;
        }
        Ok(())
    })
}

/// The other guest listens on the relay's port and responds like a relay.
pub fn relay_at_reassigned_address_is_not_used(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[own, other]| {
        let (backend, address) = (own.backend.as_ref(), own.address().await?);
        service::start(backend, &own.name, "127.0.0.1", 8003).await?;
        let route = backend.route(&own.name).await?;
        // The second dial uses the relay directly.
        for _ in 0..2 {
            service::echo(route.dial(port(8003)).await?, b"own").await?;
        }
        let listening = "grep -l ldm-relay /proc/[0-9]*/comm | cut -d/ -f3";
        let pid = own.run(&["sh", "-c", listening]).await?;
        ensure!(pid.parse::<u32>().is_ok(), "no relay: {pid:?}");
        let table = own.run(&["cat", "/proc/net/tcp"]).await?;
        let number = relay_port(&table, &address)?;
        other
            .run(&["perl", "-e", IMPOSTOR, &number.to_string()])
            .await?;
        reassign(own, other, &address).await?;
        // The impostor must respond at the address.
        let mut reached = tokio::net::TcpStream::connect((address.as_str(), number)).await?;
        reached.write_all(&[0; 18]).await?;
        let mut received = Vec::new();
        reached.read_to_end(&mut received).await?;
        ensure!(received == [0; 17], "{received:?}");
        let timeout = Duration::from_secs(30);
        for _ in 0..2 {
            let dialled = tokio::time::timeout(timeout, route.dial(port(8003))).await?;
            ensure_refused(dialled, &address, "no longer belongs to")?;
        }
        Ok(())
    })
}

/// Returns the port of the only listener at the guest's address.
fn relay_port(table: &str, address: &str) -> Result<u16> {
    let bytes: Vec<u8> = address
        .split('.')
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    let hex: String = bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let rows = table.lines().filter_map(|row| {
        let mut columns = row.split_whitespace().skip(1);
        let (at, port) = columns.next()?.split_once(':')?;
        let listens = columns.nth(1)? == "0A";
        (at == hex && listens).then_some(port)
    });
    let ports: Vec<&str> = rows.collect();
    ensure!(ports.len() == 1, "{ports:?} in {table}");
    Ok(u16::from_str_radix(ports[0], 16)?)
}
