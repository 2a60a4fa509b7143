//! Routing tables of shared ports.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::plan::{Claim, KnownEnv, default_target};
use super::route_cache::RouteCache;
use super::service::EnvPort;
use super::store::{Focus, Key};
use crate::model::{GuestPort, HostPort, ListenScope};
use crate::proxy::{RouteName, Table, Upstream};
use crate::view::EnvRef;

/// Upstreams by env port. Each lives as long as its env is known, because it counts traffic.
pub(super) struct Upstreams {
    routes: Arc<RouteCache>,
    known: HashMap<Key, Arc<Upstream>>,
}

impl Upstreams {
    pub(super) fn new(routes: Arc<RouteCache>) -> Self {
        Self {
            routes,
            known: HashMap::new(),
        }
    }

    /// Drops upstreams of unknown envs without open connections.
    pub(super) fn retain_envs(&mut self, envs: &[KnownEnv]) {
        let envs: HashSet<&EnvRef> = envs.iter().map(|known| &known.env).collect();
        self.known
            .retain(|(env, _), upstream| envs.contains(env) || upstream.traffic.view().open > 0);
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Arc<Upstream>> {
        self.known.get(key)
    }

    pub(super) fn of(&mut self, key: &Key, name: &RouteName) -> Arc<Upstream> {
        if let Some(known) = self.known.get(key) {
            return known.clone();
        }
        let (routes, (env, port)) = (self.routes.clone(), key.clone());
        let service = EnvPort { routes, env, port };
        let upstream = Upstream::new(key.0.clone(), name.clone(), Arc::new(service));
        let upstream = Arc::new(upstream);
        self.known.insert(key.clone(), upstream.clone());
        upstream
    }

    pub(super) fn cut(&self, env: &EnvRef) {
        let of_env = self.known.iter().filter(|((of, _), _)| of == env);
        of_env.for_each(|(_, upstream)| upstream.cut());
    }
}

/// Cuts open connections of ended boots after forwarding ended.
pub(super) struct Draining {
    pub(super) ended_boots: mpsc::UnboundedReceiver<EnvRef>,
    pub(super) upstreams: Upstreams,
}

impl Draining {
    pub(super) async fn cut_ended(&mut self) {
        while let Some(env) = self.ended_boots.recv().await {
            self.upstreams.cut(&env);
        }
    }
}

/// Routing tables of a port.
pub(super) struct PortTables {
    /// For clients on this host.
    pub(super) local: Table,
    /// For other hosts: only envs whose file opens the port.
    pub(super) remote: Table,
    pub(super) default_target: Option<Key>,
}

struct PortOwner<'a> {
    env: &'a KnownEnv,
    guest: GuestPort,
    reach: ListenScope,
}

/// Returns the tables of all claimed ports.
pub(super) fn port_tables(
    envs: &[KnownEnv],
    claims: &[Claim],
    focus: &Focus,
    upstreams: &mut Upstreams,
) -> BTreeMap<HostPort, PortTables> {
    let mut of_port: BTreeMap<HostPort, (Vec<PortOwner<'_>>, Vec<&Claim>)> = BTreeMap::new();
    for claim in claims {
        of_port.entry(claim.host).or_default().1.push(claim);
    }
    for (env, (guest, reach)) in envs
        .iter()
        .flat_map(|env| env.ports.iter().map(move |port| (env, port)))
    {
        if let Some((all, _)) = of_port.get_mut(&guest.on_host()) {
            let (guest, reach) = (*guest, *reach);
            all.push(PortOwner { env, guest, reach });
        }
    }
    // An instance has one name, even if several checkouts list it.
    let named = envs.iter().filter(|env| !env.is_other_checkout);
    let names: Arc<BTreeSet<RouteName>> = Arc::new(named.map(|env| env.name.clone()).collect());
    let tables = of_port.into_iter().map(|(port, (envs, claims))| {
        let stored = focus.get(port);
        let (mut local, default_target) = table(&envs, &claims, stored, upstreams);
        local.names = names.clone();
        let envs: Vec<PortOwner<'_>> = envs
            .into_iter()
            .filter(|owner| owner.reach.is_open())
            .collect();
        let claims: Vec<&Claim> = claims
            .into_iter()
            .filter(|claim| claim.reach.is_open())
            .collect();
        let (remote, _) = table(&envs, &claims, stored, upstreams);
        let tables = PortTables {
            local,
            remote,
            default_target,
        };
        (port, tables)
    });
    tables.collect()
}

/// Returns the table of an env's own port.
pub(super) fn own_table(envs: &[KnownEnv], of: &EnvRef, upstream: Arc<Upstream>) -> Table {
    let env = envs.iter().find(|known| known.env == *of);
    let hosts = env.iter().flat_map(|known| &known.hosts);
    Table {
        hosts: hosts.map(|host| (host.clone(), upstream.clone())).collect(),
        default: Some(upstream),
        ..Table::default()
    }
}

fn table(
    envs: &[PortOwner<'_>],
    claims: &[&Claim],
    stored: Option<&EnvRef>,
    upstreams: &mut Upstreams,
) -> (Table, Option<Key>) {
    let with_port = envs.iter().map(|owner| (owner.env, owner.guest));
    let key = default_target(with_port, claims.iter().copied(), stored);
    let of_key = |key: &Key| envs.iter().find(|owner| owner.env.env == key.0);
    let default = key
        .as_ref()
        .and_then(|key| Some(upstreams.of(key, &of_key(key)?.env.name)));
    let named = envs.iter().filter(|owner| !owner.env.is_other_checkout);
    let named = named.map(|owner| {
        let key = (owner.env.env.clone(), owner.guest);
        upstreams.of(&key, &owner.env.name)
    });
    let named: Vec<_> = named.collect();
    let hosts = envs.iter().flat_map(|owner| {
        let key = (owner.env.env.clone(), owner.guest);
        let upstream = upstreams.of(&key, &owner.env.name);
        let hosts = owner.env.hosts.iter();
        hosts.map(move |host| (host.clone(), upstream.clone()))
    });
    let hosts: Vec<_> = hosts.collect();
    let table = Table {
        default,
        named,
        hosts,
        names: Arc::default(),
    };
    (table, key)
}
