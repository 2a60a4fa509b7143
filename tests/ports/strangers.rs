//! Addresses that have become another guest's while nobody looked: no event says so here, as for a
//! process that was frozen.

use std::time::Duration;

use anyhow::{Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::GuestStream;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::guest::{Guest, debian, port, with_guests};

/// Takes an address from one guest and gives it to another; the host's kernel learns of it by what the
/// other sends.
async fn hand_over(from: &Guest, to: &Guest, address: &str) -> Result<()> {
    let subnet = format!("{address}/24");
    from.run(&["ip", "address", "flush", "dev", "eth0"]).await?;
    to.run(&["ip", "address", "flush", "dev", "eth0"]).await?;
    to.run(&["ip", "address", "add", &subnet, "dev", "eth0"])
        .await?;
    let knock = "use Socket; socket(my $s, PF_INET, SOCK_DGRAM, 0); \
                 send($s, 'x', 0, pack_sockaddr_in(9, inet_aton($ARGV[0]))) or die $!";
    let (network, _) = address.rsplit_once('.').unwrap();
    // Any neighbour will do: it is asked for by a broadcast that this host hears.
    to.run(&["perl", "-e", knock, &format!("{network}.1")])
        .await?;
    Ok(())
}

fn expect_end(dialled: lxc_dev_manager_core::Result<GuestStream>) -> Result<()> {
    let Err(error) = dialled else {
        anyhow::bail!("the other guest was reached");
    };
    let ends = [
        ErrorKind::Conflict,
        ErrorKind::NotFound,
        ErrorKind::Unreachable,
        ErrorKind::Timeout,
    ];
    ensure!(ends.contains(&error.kind()), "{error:?}");
    Ok(())
}

pub fn an_address_that_another_guest_has_got_is_not_dialled(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[ours, other]| {
        let (backend, address) = (ours.backend.as_ref(), ours.address().await?);
        service::start(backend, &ours.name, "0.0.0.0", 8001).await?;
        let route = backend.route(&ours.name).await?;
        service::echo(route.dial(port(8001)).await?, b"ours").await?;
        service::start(backend, &other.name, "0.0.0.0", 8001).await?;
        service::start(backend, &other.name, "127.0.0.1", 8003).await?;
        hand_over(ours, other, &address).await?;
        // The test is worth something only if the other one does answer there.
        let reached = tokio::net::TcpStream::connect((address.as_str(), 8001)).await?;
        service::echo(GuestStream::Socket(reached), b"other").await?;
        let dialled = route.dial(port(8001)).await;
        let error = dialled.as_ref().err().map(|error| error.kind());
        ensure!(error == Some(ErrorKind::Conflict), "{error:?}");
        for number in [8001, 8003, 9] {
            expect_end(route.dial(port(number)).await)?;
        }
        Ok(())
    })
}

/// Somebody listens on the relay's own port, takes what comes, and answers as a relay does.
pub fn a_relay_whose_address_another_guest_has_got_is_not_asked(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[ours, other]| {
        let (backend, address) = (ours.backend.as_ref(), ours.address().await?);
        service::start(backend, &ours.name, "127.0.0.1", 8003).await?;
        let route = backend.route(&ours.name).await?;
        // Twice: from then on the relay is asked first.
        for _ in 0..2 {
            service::echo(route.dial(port(8003)).await?, b"ours").await?;
        }
        let listening = "grep -l ldm-relay /proc/[0-9]*/comm | cut -d/ -f3";
        let pid = ours.run(&["sh", "-c", listening]).await?;
        ensure!(pid.parse::<u32>().is_ok(), "{pid:?} is no relay");
        let table = ours.run(&["cat", "/proc/net/tcp"]).await?;
        let number = relay_port(&table, &address)?;
        service::start(backend, &other.name, "0.0.0.0", number).await?;
        hand_over(ours, other, &address).await?;
        // What answers is none of ours, whatever it says.
        let mut reached = tokio::net::TcpStream::connect((address.as_str(), number)).await?;
        reached.write_all(b"e").await?;
        reached.shutdown().await?;
        let mut heard = String::new();
        reached.read_to_string(&mut heard).await?;
        ensure!(heard == "end", "{heard:?}");
        let timeout = Duration::from_secs(30);
        for _ in 0..2 {
            expect_end(tokio::time::timeout(timeout, route.dial(port(8003))).await?)?;
        }
        Ok(())
    })
}

/// The port of the only socket that listens at the guest's own address.
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
