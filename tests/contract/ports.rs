//! Promises about the ports of guests.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{Listener, listeners};
use lxc_dev_manager_core::model::{GuestPort, InstanceName};
use lxc_dev_manager_core::provision;
use lxc_dev_manager_tests::service;

use super::{Stage, ensure_kind};

fn port(number: u16) -> GuestPort {
    GuestPort::new(number).unwrap()
}

/// A running instance with a network.
async fn reachable(stage: &Stage, suffix: &str) -> Result<InstanceName> {
    let name = stage.running(suffix).await?;
    provision::wait_for_network(stage.backend.as_ref(), &name).await?;
    Ok(name)
}

async fn listen(stage: &Stage, name: &InstanceName, address: &str, number: u16) -> Result<()> {
    match &stage.fake {
        Some(fake) => Ok(fake.listen(name, port(number), Some(service::start_here()?))?),
        None => service::start(stage.backend.as_ref(), name, address, number).await,
    }
}

pub async fn services_on_every_address_are_reached(stage: &Stage) -> Result<()> {
    let name = reachable(stage, "dev").await?;
    let route = stage.backend.route(&name).await?;
    let bytes = service::bytes(1 << 20);
    for (number, address) in [
        (8001, "0.0.0.0"),
        (8002, "::"),
        (8003, "127.0.0.1"),
        (8004, "::1"),
    ] {
        listen(stage, &name, address, number).await?;
        // The second time the backend knows the route.
        for _ in 0..2 {
            service::echo(route.dial(port(number)).await?, &bytes).await?;
        }
        let (first, second) = (
            route.dial(port(number)).await?,
            route.dial(port(number)).await?,
        );
        service::end_first(first, second).await?;
    }
    Ok(())
}

pub async fn late_service_is_reached(stage: &Stage) -> Result<()> {
    let name = reachable(stage, "dev").await?;
    let route = stage.backend.route(&name).await?;
    for (number, address) in [(8001, "0.0.0.0"), (8003, "127.0.0.1")] {
        let early = route.dial(port(number)).await.map(drop);
        ensure_kind(early, ErrorKind::Guest)?;
        listen(stage, &name, address, number).await?;
        service::echo(route.dial(port(number)).await?, b"late").await?;
    }
    Ok(())
}

pub async fn a_port_without_a_service_is_refused(stage: &Stage) -> Result<()> {
    let name = reachable(stage, "dev").await?;
    let route = stage.backend.route(&name).await?;
    for _ in 0..3 {
        ensure_kind(route.dial(port(9)).await.map(drop), ErrorKind::Guest)?;
    }
    let missing = stage.name("missing");
    let result = stage.backend.route(&missing).await.map(drop);
    ensure_kind(result, ErrorKind::NotFound)
}

pub async fn a_route_ends_with_its_boot(stage: &Stage) -> Result<()> {
    let name = reachable(stage, "dev").await?;
    listen(stage, &name, "127.0.0.1", 8003).await?;
    let route = stage.backend.route(&name).await?;
    let stream = route.dial(port(8003)).await?;
    service::echo(stream, b"before").await?;
    stage.backend.stop(&name, true).await?;
    for number in [8003, 9] {
        let result = route.dial(port(number)).await.map(drop);
        ensure_kind(result, ErrorKind::Conflict)?;
    }
    let stopped = stage.backend.route(&name).await.map(drop);
    ensure_kind(stopped, ErrorKind::Conflict)?;
    stage.backend.start(&name).await?;
    provision::wait_for_network(stage.backend.as_ref(), &name).await?;
    listen(stage, &name, "127.0.0.1", 8003).await?;
    let old = route.dial(port(8003)).await.map(drop);
    ensure_kind(old, ErrorKind::Conflict)?;
    let new = stage.backend.route(&name).await?;
    service::echo(new.dial(port(8003)).await?, b"after").await?;
    stage.backend.stop(&name, true).await?;
    stage.backend.delete(&name).await?;
    let gone = new.dial(port(8003)).await.map(drop);
    ensure!(
        gone.as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound),
        "{gone:?}"
    );
    Ok(())
}

pub async fn connections_outlive_their_route(stage: &Stage) -> Result<()> {
    let name = reachable(stage, "dev").await?;
    let mut streams = Vec::new();
    for (number, address) in [(8001, "0.0.0.0"), (8003, "127.0.0.1")] {
        listen(stage, &name, address, number).await?;
        let route = stage.backend.route(&name).await?;
        streams.push(route.dial(port(number)).await?);
    }
    let another = stage.backend.route(&name).await?;
    service::echo(another.dial(port(8003)).await?, b"another").await?;
    drop(another);
    for stream in streams {
        service::echo(stream, &service::bytes(1 << 20)).await?;
    }
    Ok(())
}

pub async fn listeners_are_reported(stage: &Stage) -> Result<()> {
    let name = reachable(stage, "dev").await?;
    let backend = stage.backend.as_ref();
    let services = [
        (8001, "0.0.0.0"),
        (8002, "::"),
        (8003, "127.0.0.1"),
        (8004, "::1"),
    ];
    for (number, address) in services {
        listen(stage, &name, address, number).await?;
    }
    let told = listeners(backend, &name).await?;
    for (number, address) in services {
        let listener = told.iter().find(|listener| listener.port == port(number));
        let listener = listener.with_context(|| format!("{number} is not reported: {told:?}"))?;
        if stage.fake.is_none() {
            ensure!(listener.addresses == [address.parse::<IpAddr>()?]);
            let process = listener.process.as_ref().context("no process")?;
            ensure!(process.name == "perl", "{process:?}");
        }
    }
    // Our relay is not a service of the guest.
    let route = stage.backend.route(&name).await?;
    service::echo(route.dial(port(8003)).await?, b"here").await?;
    let again = listeners(backend, &name).await?;
    let ours = |one: &Listener| match &one.process {
        Some(process) => process.name.starts_with("ldm-"),
        None => stage.fake.is_none(),
    };
    ensure!(
        services.len() <= again.len() && !again.iter().any(ours),
        "{again:?}"
    );
    Ok(())
}
