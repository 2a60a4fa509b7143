//! A cheap list of instances.
//!
//! For an instance's state the engine enters the guest's network namespace, which takes most of the
//! time of a full list. The list needs only the address from it, and the bridges' leases have the
//! addresses of all guests. Only guests without a lease (other network, static address) cost a
//! request each.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use futures_util::future::join_all;

use super::client::Client;
use super::wire;
use crate::backend::Instance;
use crate::error::Result;

/// IP address by hardware address.
type Leases = HashMap<String, IpAddr>;

/// All instances, without snapshots.
pub(super) async fn all(client: &Client) -> Result<Vec<Instance>> {
    let found: Vec<wire::Instance> = client.list("/1.0/instances?recursion=1").await?;
    let leases = leases(client, &found).await;
    let instances = found
        .into_iter()
        .map(|instance| complete(client, instance, &leases));
    // Names of other tools' instances may not parse.
    Ok(join_all(instances).await.into_iter().flatten().collect())
}

async fn complete(client: &Client, mut raw: wire::Instance, leases: &Leases) -> Option<Instance> {
    let leased = raw
        .nics()
        .find_map(|nic| leases.get(nic.hardware_address).copied());
    if raw.is_running() && leased.is_none() {
        let path = format!("/1.0/instances/{}/state", raw.name());
        // Shown without an address if it has just stopped.
        raw.set_state(client.get(&path).await.ok());
    }
    let mut instance = raw.into_instance().ok()?;
    if instance.status.is_up() && instance.address.is_none() {
        instance.address = leased;
    }
    Some(instance)
}

async fn leases(client: &Client, instances: &[wire::Instance]) -> Leases {
    let running = instances.iter().filter(|instance| instance.is_running());
    let networks: BTreeSet<&str> = running
        .flat_map(wire::Instance::nics)
        .map(|nic| nic.network)
        .collect();
    let requests = networks.into_iter().map(|network| async move {
        let path = format!("/1.0/networks/{}/leases", super::client::url_part(network));
        let leases: Result<Vec<wire::Lease>> = client.list(&path).await;
        // Unmanaged bridges have none.
        leases.unwrap_or_default()
    });
    let all = join_all(requests).await.into_iter().flatten();
    all.filter(|lease| lease.address.is_ipv4())
        .map(|lease| (lease.hwaddr, lease.address))
        .collect()
}
