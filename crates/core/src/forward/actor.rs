//! The task that owns all forwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener_probe::ListenerProbe;
use super::plan::{Claim, KnownEnv, Scope, claims, default_target, envs};
use super::ports::{PortSpec, Ports, RETRY_INTERVAL};
use super::renames::{Renames, resolve};
use super::route_cache::RouteCache;
use super::store::{Focus, Key, OwnPorts};
use super::tables::{Draining, Upstreams, own_table, port_tables};
use super::{Command, FocusRequest, HandoverServer, no_such_port};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{EnvStatus, GuestPort, HostPort, PortState};
use crate::operations::Operations;
use crate::proxy::Listening;
use crate::view::{EnvRef, FocusMove, ForwardView, View};
use crate::watch::ViewReceiver;

/// Stopped envs and missing projects keep their ports this long, so that a restart, a restore or the checkout of
/// another branch closes no port.
const LINGER_TIMEOUT: Duration = Duration::from_secs(10);

/// Inherited listeners without a lease are kept this long, until all sessions have reconnected.
const INHERITED_TIMEOUT: Duration = Duration::from_secs(5);
/// The same while an engine is unreachable.
const UNREACHABLE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Actor {
    /// Envs with connections whose boot has ended.
    ended_boots: mpsc::UnboundedReceiver<EnvRef>,
    probe: ListenerProbe,
    listening: mpsc::UnboundedReceiver<Key>,
    view: Arc<View>,
    envs: Vec<KnownEnv>,
    running: BTreeSet<EnvRef>,
    /// Stopped envs that are still treated as running, with their deadlines.
    lingering: BTreeMap<EnvRef, Instant>,
    /// Envs of missing projects, with the deadlines until they are dropped.
    missing: BTreeMap<EnvRef, Instant>,
    /// By number, oldest first.
    leases: Vec<(u64, Scope)>,
    renames: Renames,
    /// Renames to apply once the view shows the new names.
    renamed: Vec<(EnvRef, EnvRef)>,
    focus: Focus,
    own_ports: OwnPorts,
    /// Ports released by a user.
    released: BTreeSet<HostPort>,
    /// Ports with a listener in the guest.
    listening_ports: BTreeSet<Key>,
    upstreams: Upstreams,
    default_targets: BTreeMap<HostPort, Key>,
    /// Guest port numbers of all envs, forwarded or not.
    shared: BTreeSet<HostPort>,
    ports: Ports,
    /// Ports of envs whose engine was unreachable at the last check.
    unreachable: BTreeSet<u16>,
    /// Another process is about to take over.
    handing_over: bool,
    claims: Vec<Claim>,
    published: watch::Sender<Vec<ForwardView>>,
}

impl Actor {
    pub(super) fn new(
        operations: Arc<Operations>,
        published: watch::Sender<Vec<ForwardView>>,
        ports: Ports,
        tasks: TaskTracker,
        // Ends of listening and of the last connection.
        (shutdown, drained): (CancellationToken, CancellationToken),
    ) -> Result<Self> {
        let home = operations.home();
        let (mut focus, mut own_ports) = (Focus::read(home)?, OwnPorts::read(home)?);
        for warning in [focus.warning(), own_ports.warning()].into_iter().flatten() {
            operations.bus().publish(EventKind::Notice(warning));
        }
        let renames = Renames::read(home)?;
        let (probe, listening) = ListenerProbe::new(operations.clone(), tasks.clone(), shutdown);
        let (routes, ended_boots) = RouteCache::new(operations, tasks, drained);
        Ok(Self {
            ended_boots,
            probe,
            listening,
            view: Arc::default(),
            envs: Vec::new(),
            running: BTreeSet::new(),
            lingering: BTreeMap::new(),
            missing: BTreeMap::new(),
            leases: Vec::new(),
            renames,
            renamed: Vec::new(),
            focus,
            own_ports,
            released: BTreeSet::new(),
            listening_ports: BTreeSet::new(),
            upstreams: Upstreams::new(routes),
            default_targets: BTreeMap::new(),
            shared: BTreeSet::new(),
            ports,
            unreachable: BTreeSet::new(),
            handing_over: false,
            claims: Vec::new(),
            published,
        })
    }

    pub(super) async fn run(
        &mut self,
        mut view: ViewReceiver,
        mut commands: mpsc::Receiver<Command>,
    ) {
        // Inherited listeners are kept until the first view arrives.
        if view.wait_for(Option::is_some).await.is_err() {
            return;
        }
        view.mark_changed();
        let started = Instant::now();
        // Deadlines outlive loop iterations, which are frequent.
        let (mut next_retry, mut drop_inherited_at) = (started, started + INHERITED_TIMEOUT);
        loop {
            let lingers = self.lingering.values().chain(self.missing.values());
            let lingers = lingers.min().copied();
            tokio::select! {
                changed = view.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if let Some(view) = view.borrow_and_update().clone() {
                        self.view = view;
                    }
                    self.update_view().await;
                }
                command = commands.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                Some(env) = self.ended_boots.recv() => self.upstreams.cut(&env),
                Some(key) = self.listening.recv() => {
                    self.listening_ports.insert(key);
                    self.reconcile().await;
                }
                () = sleep_until(lingers.unwrap_or_else(Instant::now)), if lingers.is_some() => self.update_view().await,
                () = sleep_until(drop_inherited_at), if self.ports.has_inherited() => {
                    self.drop_inherited(started);
                    drop_inherited_at = Instant::now() + INHERITED_TIMEOUT;
                }
                () = sleep_until(next_retry), if self.ports.has_refused() => {
                    next_retry = Instant::now() + RETRY_INTERVAL;
                    self.ports.retry_refused();
                    self.publish();
                }
                Some(found) = self.ports.found.recv() => {
                    self.ports.apply(found);
                    self.publish();
                }
            }
        }
    }

    /// Closes the listeners. Open connections continue.
    pub(super) async fn close(mut self) -> Draining {
        self.ports.set(BTreeMap::new()).await;
        Draining {
            ended_boots: self.ended_boots,
            upstreams: self.upstreams,
        }
    }

    /// Applies the current view. Envs that just stopped linger, because they may be restarting.
    async fn update_view(&mut self) {
        let moment = Instant::now();
        let missing = self.linger_missing(moment);
        let mut now = envs(&self.view, &self.envs, missing);
        let running: BTreeSet<EnvRef> = now
            .iter()
            .filter(|env| env.running)
            .map(|env| env.env.clone())
            .collect();
        for stopped in self.running.difference(&running) {
            self.lingering
                .insert(stopped.clone(), moment + LINGER_TIMEOUT);
        }
        self.lingering
            .retain(|env, until| *until > moment && !running.contains(env));
        self.running = running;
        for env in &mut now {
            if self.lingering.contains_key(&env.env) {
                (env.running, env.reachable) = (true, true);
            }
        }
        if now != self.envs {
            self.envs = now;
            self.apply_renames();
            self.reconcile().await;
        }
    }

    /// Drops unused inherited listeners, except those of envs whose engine is or was just unreachable.
    fn drop_inherited(&mut self, started: Instant) {
        let unreachable = if started.elapsed() < UNREACHABLE_TIMEOUT {
            self.unreachable()
        } else {
            BTreeSet::new()
        };
        let before = std::mem::replace(&mut self.unreachable, unreachable);
        let unreachable = &self.unreachable;
        self.ports
            .drop_inherited(|port| unreachable.contains(&port) || before.contains(&port));
    }

    /// Ports of envs whose engine is unreachable.
    fn unreachable(&self) -> BTreeSet<u16> {
        let mut unreachable = BTreeSet::new();
        for project in &self.view.projects {
            let envs = project.envs.iter();
            for env in envs.filter(|env| env.status == EnvStatus::Unreachable) {
                for port in &env.ports {
                    let of = EnvRef {
                        project_path: project.path.clone(),
                        env: env.name.clone(),
                    };
                    let own = self.own_ports.get(&(of, port.guest), &self.shared);
                    unreachable.insert(port.guest.on_host().get());
                    unreachable.extend(own.map(HostPort::get));
                }
            }
        }
        unreachable
    }

    /// Returns the envs of missing projects until their deadline.
    fn linger_missing(&mut self, now: Instant) -> Vec<KnownEnv> {
        let is_listed = |env: &&KnownEnv| {
            let mut projects = self.view.projects.iter();
            projects.any(|project| project.path == env.env.project_path)
        };
        let mut missing: Vec<KnownEnv> = self
            .envs
            .iter()
            .filter(|env| !is_listed(env))
            .cloned()
            .collect();
        let until = |env: &EnvRef| {
            self.missing
                .get(env)
                .copied()
                .unwrap_or(now + LINGER_TIMEOUT)
        };
        let since = missing
            .iter()
            .map(|known| (known.env.clone(), until(&known.env)));
        self.missing = since.filter(|(_, until)| *until > now).collect();
        missing.retain(|known| self.missing.contains_key(&known.env));
        missing
    }

    /// Applies renames once the view shows the new names, so that ports stay open.
    fn apply_renames(&mut self) {
        match self.renames.take_new() {
            Ok(new_renames) => self.renamed.extend(new_renames),
            Err(error) => tracing::warn!(?error, "cannot read renames"),
        }
        let is_known = |env: &EnvRef| self.envs.iter().any(|known| known.env == *env);
        let is_due =
            |(old, _): &(EnvRef, EnvRef)| is_known(&resolve(old, &self.renamed)) || !is_known(old);
        if self.renamed.is_empty() || !self.renamed.iter().all(is_due) {
            return;
        }
        let renamed = std::mem::take(&mut self.renamed);
        for (_, scope) in &mut self.leases {
            scope.apply_renames(&renamed);
        }
        if let Err(error) = self.focus.refresh().and_then(|()| self.own_ports.refresh()) {
            tracing::warn!(?error, "cannot reload stored ports after a rename");
        }
    }

    async fn handle(&mut self, command: Command) {
        // Receivers may be gone.
        match command {
            Command::Lease(number, scope) => {
                // A new lease revokes the release of its ports.
                let wanted = claims(
                    &self.envs,
                    [&scope].into_iter(),
                    &self.listening_ports,
                    &BTreeSet::new(),
                );
                self.released
                    .retain(|port| wanted.iter().all(|claim| claim.host != *port));
                self.leases.push((number, scope));
                self.reconcile().await;
            }
            // Sessions reconnect to the next process.
            Command::EndLease(_) if self.handing_over => {}
            Command::EndLease(number) => {
                self.leases.retain(|(known, _)| *known != number);
                self.reconcile().await;
            }
            Command::Focus(request, answer) => {
                let _ = answer.send(self.set_focus(&request).await);
            }
            Command::Release(port, answer) => {
                let _ = answer.send(self.release(port).await);
            }
            Command::Forwards(answer) => {
                let _ = answer.send(self.forwards());
            }
            Command::HandoverServer(answer) => {
                self.handing_over = true;
                let listeners = self.ports.duplicate().unwrap_or_else(|error| {
                    tracing::warn!(%error, "cannot hand over listeners");
                    Vec::new()
                });
                let leases = self.leases.len();
                let _ = answer.send(HandoverServer { listeners, leases });
            }
        }
    }

    /// Updates listeners and routing tables to match leases and envs.
    async fn reconcile(&mut self) {
        self.upstreams.retain_envs(&self.envs);
        let mut leases = self.leases.iter().map(|(_, scope)| scope);
        let probed = if leases.any(|scope| *scope == Scope::Answering) {
            self.envs.as_slice()
        } else {
            &[]
        };
        for env in self.probe.set_envs(probed) {
            self.listening_ports.retain(|(of, _)| *of != env);
        }
        let leases = self.leases.iter().map(|(_, scope)| scope);
        self.claims = claims(&self.envs, leases, &self.listening_ports, &self.released);
        let ports = self.envs.iter().flat_map(|env| &env.ports);
        self.shared = ports.map(|(port, _)| port.on_host()).collect();
        self.assign_own_ports().await;
        let mut wanted: BTreeMap<HostPort, PortSpec> = BTreeMap::new();
        for claim in &self.claims {
            let shared = wanted.entry(claim.host).or_default();
            shared.reach = shared.reach.max(claim.reach);
            if let Some(own) = self.own_ports.get(&claim.key, &self.shared) {
                let upstream = self.upstreams.of(&claim.key, &claim.name);
                wanted.entry(own).or_default().local =
                    own_table(&self.envs, &claim.key.0, upstream);
            }
        }
        self.default_targets.clear();
        let port_tables = port_tables(&self.envs, &self.claims, &self.focus, &mut self.upstreams);
        for (port, port_tables) in port_tables {
            let wanted = wanted.entry(port).or_default();
            (wanted.local, wanted.remote) = (port_tables.local, port_tables.remote);
            self.default_targets
                .extend(port_tables.default_target.map(|key| (port, key)));
        }
        self.ports.set(wanted).await;
        self.publish();
    }

    /// Assigns own ports to claims without one.
    async fn assign_own_ports(&mut self) {
        let claims = self.claims.iter();
        let missing = claims.filter(|claim| self.own_ports.get(&claim.key, &self.shared).is_none());
        let missing: Vec<Key> = missing.map(|claim| claim.key.clone()).collect();
        if missing.is_empty() {
            return;
        }
        // Without the list, a port in use is detected when it is bound.
        let listening = tokio::task::spawn_blocking(Listening::read).await;
        let listening = listening.unwrap_or_default();
        if let Err(error) = self.own_ports.assign(&missing, &self.shared, &listening) {
            tracing::warn!(?error, "cannot assign own ports");
        }
    }

    async fn release(&mut self, port: HostPort) -> Result<()> {
        if !self.claims.iter().any(|claim| claim.host == port) {
            let message = format!("port {port} is not forwarded");
            return Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("list forwards: `lxc-dev-manager ports`"));
        }
        self.released.insert(port);
        self.reconcile().await;
        Ok(())
    }

    async fn set_focus(&mut self, request: &FocusRequest) -> Result<Vec<FocusMove>> {
        let known = self.envs.iter().find(|known| known.env == request.env);
        let known = known.ok_or_else(|| {
            let message = format!("the forwarder does not know `{}` yet", request.env.env);
            Error::new(ErrorKind::NotFound, message).with_hint("try again in a moment")
        })?;
        let owned: Vec<GuestPort> = known.ports.iter().map(|(port, _)| *port).collect();
        let requested = match request.port {
            Some(port) if owned.contains(&port) => vec![port],
            Some(port) => return Err(no_such_port(&request.env.env, port)),
            None => owned,
        };
        let mut moves = Vec::new();
        for port in requested {
            moves.push(self.move_focus(port.on_host(), request)?);
        }
        self.reconcile().await;
        Ok(moves)
    }

    fn move_focus(&mut self, port: HostPort, request: &FocusRequest) -> Result<FocusMove> {
        let with_port = self.envs.iter();
        let with_port = with_port.filter_map(|env| Some((env, env.guest(port)?)));
        let of_port = self.claims.iter().filter(|claim| claim.host == port);
        let before = default_target(with_port, of_port, self.focus.get(port));
        let before = before.filter(|(env, _)| *env != request.env);
        let before = before.and_then(|key| self.upstreams.get(&key).cloned());
        let from = before.as_ref().map(|upstream| upstream.env.clone());
        // Unlike an HTTP client, a database session does not reconnect.
        let open = before
            .as_ref()
            .map_or(0, |before| before.traffic.view().open_other);
        if request.port.is_none() && open > 0 && !request.cut {
            let open_connections = Some(open);
            return Ok(FocusMove {
                port,
                from,
                open_connections,
            });
        }
        self.focus.set(port, &request.env)?;
        if let (true, Some(before)) = (request.cut, &before) {
            before.cut();
        }
        Ok(FocusMove {
            port,
            from,
            open_connections: None,
        })
    }

    fn forwards(&self) -> Vec<ForwardView> {
        let claims = self.claims.iter();
        let mut views: Vec<_> = claims.filter_map(|claim| self.forward(claim)).collect();
        views.sort_by_key(|view| (view.env.clone(), view.guest));
        views
    }

    fn forward(&self, claim: &Claim) -> Option<ForwardView> {
        let (env, guest) = claim.key.clone();
        let (state, problem) = self.ports.state(claim.host)?;
        let own = self.own_ports.get(&claim.key, &self.shared);
        // In use by another process, or not permitted.
        let is_open = |port: &HostPort| {
            let state = self.ports.state(*port);
            state.is_some_and(|(state, _)| state == PortState::Forwarded)
        };
        let own_port = own.filter(is_open);
        let has_focus = self.default_targets.get(&claim.host);
        let traffic = self.upstreams.get(&claim.key);
        Some(ForwardView {
            env,
            project: claim.project.clone(),
            guest,
            host: claim.host,
            stable: own_port,
            name: claim.name.host(),
            state,
            problem,
            focused: state == PortState::Forwarded && has_focus == Some(&claim.key),
            reach: claim.reach,
            traffic: traffic
                .map(|upstream| upstream.traffic.view())
                .unwrap_or_default(),
        })
    }

    /// Publishes the forwards, unless only traffic counts changed.
    fn publish(&mut self) {
        let now = self.forwards();
        self.published.send_if_modified(|published| {
            let same = published.len() == now.len()
                && published
                    .iter()
                    .zip(&now)
                    .all(|(published, now)| published.eq_ignoring_traffic(now));
            if !same {
                *published = now;
            }
            !same
        });
    }
}
