//! Who is reached by the ports that envs share.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::plan::{Claim, KnownEnv, focused};
use super::route_cache::RouteCache;
use super::service::EnvPort;
use super::store::{Focus, Key};
use crate::model::{GuestPort, HostPort, Reach};
use crate::proxy::{RouteName, Table, Upstream};
use crate::view::EnvRef;

/// Ports of envs that can be dialled: each the same one for as long as its env is known, for it counts.
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

    /// Forgets those of other envs. Connections that are open can be cut until they end.
    pub(super) fn keep(&mut self, envs: &[KnownEnv]) {
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
        let made = Upstream::new(key.0.clone(), name.clone(), Arc::new(service));
        let made = Arc::new(made);
        self.known.insert(key.clone(), made.clone());
        made
    }

    pub(super) fn cut(&self, env: &EnvRef) {
        let of_env = self.known.iter().filter(|((of, _), _)| of == env);
        of_env.for_each(|(_, upstream)| upstream.cut());
    }
}

/// What is left of forwarding while connections that came before are still open.
pub(super) struct Draining {
    pub(super) ended: mpsc::UnboundedReceiver<EnvRef>,
    pub(super) upstreams: Upstreams,
}

impl Draining {
    /// Cuts those whose boot is over.
    pub(super) async fn cut(&mut self) {
        while let Some(ended) = self.ended.recv().await {
            self.upstreams.cut(&ended);
        }
    }
}

/// Who can be reached by one port.
pub(super) struct Shares {
    /// From this machine.
    pub(super) inside: Table,
    /// From elsewhere: only those whose file opens it.
    pub(super) outside: Table,
    /// Who gets what names nobody.
    pub(super) focused: Option<Key>,
}

/// An env that has a port.
struct Has<'a> {
    env: &'a KnownEnv,
    guest: GuestPort,
    reach: Reach,
}

/// The tables of all ports that are claimed.
pub(super) fn shares(
    envs: &[KnownEnv],
    claims: &[Claim],
    focus: &Focus,
    upstreams: &mut Upstreams,
) -> BTreeMap<HostPort, Shares> {
    let mut of_port: BTreeMap<HostPort, (Vec<Has<'_>>, Vec<&Claim>)> = BTreeMap::new();
    for claim in claims {
        of_port.entry(claim.host).or_default().1.push(claim);
    }
    for (env, (guest, reach)) in envs
        .iter()
        .flat_map(|env| env.ports.iter().map(move |port| (env, port)))
    {
        if let Some((all, _)) = of_port.get_mut(&guest.on_host()) {
            let (guest, reach) = (*guest, *reach);
            all.push(Has { env, guest, reach });
        }
    }
    // One instance has one name, however many checkouts list it.
    let named = envs.iter().filter(|env| !env.is_twin);
    let names: Arc<BTreeSet<RouteName>> = Arc::new(named.map(|env| env.name.clone()).collect());
    let shares = of_port.into_iter().map(|(port, (envs, claims))| {
        let remembered = focus.of(port);
        let (mut inside, focused) = table(&envs, &claims, remembered, upstreams);
        inside.names = names.clone();
        let envs: Vec<Has<'_>> = envs.into_iter().filter(|has| has.reach.is_open()).collect();
        let claims: Vec<&Claim> = claims
            .into_iter()
            .filter(|claim| claim.reach.is_open())
            .collect();
        let (outside, _) = table(&envs, &claims, remembered, upstreams);
        let shares = Shares {
            inside,
            outside,
            focused,
        };
        (port, shares)
    });
    shares.collect()
}

fn table(
    envs: &[Has<'_>],
    claims: &[&Claim],
    remembered: Option<&EnvRef>,
    upstreams: &mut Upstreams,
) -> (Table, Option<Key>) {
    let with_port = envs.iter().map(|has| (has.env, has.guest));
    let key = focused(with_port, claims.iter().copied(), remembered);
    let of_key = |key: &Key| envs.iter().find(|has| has.env.env == key.0);
    let focused = key
        .as_ref()
        .and_then(|key| Some(upstreams.of(key, &of_key(key)?.env.name)));
    let named = envs.iter().filter(|has| !has.env.is_twin);
    let named = named.map(|has| {
        let key = (has.env.env.clone(), has.guest);
        upstreams.of(&key, &has.env.name)
    });
    let table = Table {
        focused,
        named: named.collect(),
        names: Arc::default(),
    };
    (table, key)
}
