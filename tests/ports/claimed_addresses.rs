//! Guests that show addresses which aren't theirs: connections must not end on the host or in another env.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::service;
use tokio::net::TcpListener;

use crate::guest::{Guest, debian, port, with_guests};

/// Shows an address first: before the guest's own, which the engine gave it.
async fn claim(guest: &Guest, address: &str) -> Result<()> {
    let own = guest.address().await?;
    guest
        .run(&["ip", "address", "flush", "dev", "eth0"])
        .await?;
    for address in [format!("{address}/32"), format!("{own}/24")] {
        guest
            .run(&["ip", "address", "add", &address, "dev", "eth0"])
            .await?;
    }
    Ok(())
}

pub fn claimed_address_of_the_host_is_refused(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[guest]| {
        let own = guest.address().await?;
        let (network, _) = own.rsplit_once('.').context("no IPv4 address")?;
        // The host's end of the bridge: lower than every guest's, so it is shown first.
        let host = format!("{network}.1");
        let service = TcpListener::bind((host.as_str(), 0)).await?;
        let number = service.local_addr()?.port();
        claim(guest, &host).await?;
        ensure!(guest.address().await? == host, "the claim is not shown");
        let dialled = async {
            guest
                .backend
                .route(&guest.name)
                .await?
                .dial(port(number))
                .await
        };
        let error = dialled.await.err().context("reached the host")?;
        ensure!(error.kind() == ErrorKind::Conflict, "{error:?}");
        ensure!(
            error.to_string().contains("an address of this machine"),
            "{error}"
        );
        Ok(())
    })
}

pub fn claimed_address_of_another_env_is_refused(engine: &TestEngine) -> Result<()> {
    with_guests(engine, &debian(), async |[liar, victim]| {
        let address = victim.address().await?;
        service::start(victim.backend.as_ref(), &victim.name, "0.0.0.0", 8001).await?;
        liar.run(&["ip", "address", "flush", "dev", "eth0"]).await?;
        // With the victim's hardware address in the guest, too; the engine knows the configured one.
        let shown = victim.run(&["cat", "/sys/class/net/eth0/address"]).await?;
        liar.run(&[
            "ip", "link", "add", "fake0", "address", &shown, "type", "bridge",
        ])
        .await?;
        let subnet = format!("{address}/24");
        liar.run(&["ip", "address", "add", &subnet, "dev", "fake0"])
            .await?;
        liar.run(&["ip", "link", "set", "fake0", "up"]).await?;
        ensure!(liar.address().await? == address, "the claim is not shown");
        // So that the host knows the victim as its neighbour.
        drop(tokio::net::TcpStream::connect((address.as_str(), 8001)).await?);
        let dialled = async { liar.backend.route(&liar.name).await?.dial(port(8001)).await };
        let error = dialled.await.err().context("reached the other env")?;
        ensure!(error.kind() == ErrorKind::Conflict, "{error:?}");
        Ok(())
    })
}
