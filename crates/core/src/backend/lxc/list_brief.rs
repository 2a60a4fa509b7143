//! The instances in little time.
//!
//! For each state the engine enters the guest's network namespace, which takes most of the time of a
//! whole listing. What a list shows of it is the address, and the bridges' leases tell that for all
//! guests at once. Only a guest without a lease (of its own network, or with a static address) is
//! asked itself.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use futures_util::future::join_all;

use super::client::Client;
use super::wire;
use crate::backend::Instance;
use crate::error::Result;

/// Addresses by the hardware address that has them.
type Leases = HashMap<String, IpAddr>;

/// All instances, without snapshots.
pub(super) async fn all(client: &Client) -> Result<Vec<Instance>> {
    let found: Vec<wire::Instance> = client.get("/1.0/instances?recursion=1").await?;
    let leases = leases(client, &found).await;
    let whole = found
        .into_iter()
        .map(|instance| complete(client, instance, &leases));
    // A name that isn't ours to read (a virtual machine of another tool, say) is not an error.
    Ok(join_all(whole).await.into_iter().flatten().collect())
}

async fn complete(client: &Client, mut raw: wire::Instance, leases: &Leases) -> Option<Instance> {
    let leased = raw
        .nics()
        .find_map(|nic| leases.get(nic.hardware_address).copied());
    if raw.is_running() && leased.is_none() {
        let path = format!("/1.0/instances/{}/state", raw.name());
        // One that has just gone has no state, and is shown without an address.
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
    let asked = networks.into_iter().map(|network| async move {
        let path = format!("/1.0/networks/{}/leases", super::image::url_part(network));
        let leases: Result<Vec<wire::Lease>> = client.get(&path).await;
        // A bridge that isn't the engine's own has none.
        leases.unwrap_or_default()
    });
    let all = join_all(asked).await.into_iter().flatten();
    all.filter(|lease| lease.address.is_ipv4())
        .map(|lease| (lease.hwaddr, lease.address))
        .collect()
}
