//! The one task that owns the forwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::Answers;
use super::plan::{Claim, KnownEnv, Scope, claims, envs, focused};
use super::ports::{LOOK, Ports, Wanted};
use super::renames::{Renames, followed};
use super::service::EnvPort;
use super::store::{Focus, Key, Stable};
use super::ways::Ways;
use super::{FocusRequest, Legacy, Order, no_such_port};
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{GuestPort, HostPort, PortState, Reach};
use crate::proxy::{Listening, RouteName, Table, TrafficView, Upstream};
use crate::view::{EnvRef, FocusMove, ForwardView, View, ViewEvent};
use crate::watch::Watch;

/// How long an env that has stopped is taken as running: a restart or a restore closes no port.
const LINGER: Duration = Duration::from_secs(10);

/// How long listeners are kept that the one before had and nobody wants yet: others who had a lease there are on their
/// way.
const INHERITS: Duration = Duration::from_secs(5);

pub(super) struct Actor {
    ways: Arc<Ways>,
    /// Envs of which the boot is over to which connections were made.
    ended: mpsc::UnboundedReceiver<EnvRef>,
    answers: Answers,
    heard: mpsc::UnboundedReceiver<Key>,
    view: View,
    envs: Vec<KnownEnv>,
    /// Those that run.
    up: BTreeSet<EnvRef>,
    /// Those that have just stopped, until they are taken for stopped.
    lingering: BTreeMap<EnvRef, Instant>,
    /// By number, in the order in which they came.
    leases: Vec<(u64, Scope)>,
    renames: Renames,
    /// Envs that have other names, until they are seen under these.
    renamed: Vec<(EnvRef, EnvRef)>,
    focus: Focus,
    stable: Stable,
    /// Ports that somebody has given up.
    released: BTreeSet<HostPort>,
    /// Ports on which a guest has answered.
    answered: BTreeSet<Key>,
    upstreams: HashMap<Key, Arc<Upstream>>,
    /// Ports that envs have in common, whether they are forwarded or not.
    shared: BTreeSet<HostPort>,
    ports: Ports,
    claims: Vec<Claim>,
    told: watch::Sender<Vec<ForwardView>>,
}

impl Actor {
    pub(super) fn new(
        engine: Arc<Engine>,
        told: watch::Sender<Vec<ForwardView>>,
        ports: Ports,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        let home = engine.home();
        let (mut focus, mut stable) = (Focus::read(home)?, Stable::read(home)?);
        for warning in [focus.warning(), stable.warning()].into_iter().flatten() {
            engine.bus().publish(EventKind::Notice(warning));
        }
        let renames = Renames::read(home)?;
        let (answers, heard) = Answers::new(engine.clone(), tasks.clone(), shutdown.clone());
        let (ways, ended) = Ways::new(engine, tasks, shutdown);
        Ok(Self {
            ways,
            ended,
            answers,
            heard,
            view: View::default(),
            envs: Vec::new(),
            up: BTreeSet::new(),
            lingering: BTreeMap::new(),
            leases: Vec::new(),
            renames,
            renamed: Vec::new(),
            focus,
            stable,
            released: BTreeSet::new(),
            answered: BTreeSet::new(),
            upstreams: HashMap::new(),
            shared: BTreeSet::new(),
            ports,
            claims: Vec::new(),
            told,
        })
    }

    pub(super) async fn run(mut self, watch: Watch, mut orders: mpsc::Receiver<Order>) {
        // Kept over the turns of the loop, which others make go round often.
        let mut next_look = Instant::now();
        let inherits = Instant::now() + INHERITS;
        // A subscriber that fell behind begins again, with the whole.
        while let Some(mut events) = watch.subscribe().await {
            loop {
                let lingers = self.lingering.values().min().copied();
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => self.see(event, &mut events).await,
                        None => break,
                    },
                    order = orders.recv() => match order {
                        Some(order) => self.obey(order).await,
                        None => return,
                    },
                    Some(ended) = self.ended.recv() => self.cut(&ended),
                    Some(key) = self.heard.recv() => {
                        self.answered.insert(key);
                        self.settle().await;
                    }
                    () = sleep_until(lingers.unwrap_or_else(Instant::now)), if lingers.is_some() => self.look().await,
                    () = sleep_until(inherits), if self.ports.inherits() => self.ports.disinherit(),
                    () = sleep_until(next_look), if self.ports.waits() => {
                        next_look = Instant::now() + LOOK;
                        self.ports.look_again();
                        self.tell();
                    }
                    Some(found) = self.ports.found.recv() => {
                        self.ports.take(found);
                        self.tell();
                    }
                }
            }
        }
    }

    /// Folds an event, and those that wait behind it, into the view.
    async fn see(&mut self, event: ViewEvent, more: &mut mpsc::Receiver<ViewEvent>) {
        self.view.apply(&event.patch);
        while let Ok(event) = more.try_recv() {
            self.view.apply(&event.patch);
        }
        self.look().await;
    }

    /// Takes what the view says now. An env that has just stopped is lingered for: it may only be on its
    /// way to run again.
    async fn look(&mut self) {
        let mut now = envs(&self.view, &self.envs);
        let moment = Instant::now();
        let up: BTreeSet<EnvRef> = now
            .iter()
            .filter(|env| env.up)
            .map(|env| env.env.clone())
            .collect();
        for stopped in self.up.difference(&up) {
            self.lingering.insert(stopped.clone(), moment + LINGER);
        }
        self.lingering
            .retain(|env, until| *until > moment && !up.contains(env));
        self.up = up;
        for env in &mut now {
            if self.lingering.contains_key(&env.env) {
                (env.up, env.reachable) = (true, true);
            }
        }
        if now != self.envs {
            self.envs = now;
            self.carry_over();
            self.settle().await;
        }
    }

    /// What an env has, it has under its new name as well: once it is seen by that, so that its ports stay
    /// open.
    fn carry_over(&mut self) {
        match self.renames.fresh() {
            Ok(fresh) => self.renamed.extend(fresh),
            Err(error) => tracing::warn!(?error, "renames aren't followed"),
        }
        let is_known = |env: &EnvRef| self.envs.iter().any(|known| known.env == *env);
        let is_due =
            |(old, _): &(EnvRef, EnvRef)| is_known(&followed(old, &self.renamed)) || !is_known(old);
        if self.renamed.is_empty() || !self.renamed.iter().all(is_due) {
            return;
        }
        let renamed = std::mem::take(&mut self.renamed);
        for (_, scope) in &mut self.leases {
            scope.follow(&renamed);
        }
        if let Err(error) = self.focus.refresh().and_then(|()| self.stable.refresh()) {
            tracing::warn!(?error, "what it had isn't remembered under its new name");
        }
    }

    async fn obey(&mut self, order: Order) {
        // Who asked and went away needs no answer.
        match order {
            Order::Lease(number, scope) => {
                // Whoever wants a port wants it also if somebody gave it up before.
                self.released.clear();
                self.leases.push((number, scope));
                self.settle().await;
            }
            Order::EndLease(number) => {
                self.leases.retain(|(known, _)| *known != number);
                self.settle().await;
            }
            Order::Focus(request, answer) => {
                let _ = answer.send(self.give_focus(&request).await);
            }
            Order::Release(port, answer) => {
                let _ = answer.send(self.release(port).await);
            }
            Order::Forwards(answer) => {
                let _ = answer.send(self.forwards());
            }
            Order::Legacy(answer) => {
                let listeners = self.ports.copies().unwrap_or_else(|error| {
                    tracing::warn!(%error, "listeners can't be handed over");
                    Vec::new()
                });
                let leases = self.leases.len();
                let _ = answer.send(Legacy { listeners, leases });
            }
        }
    }

    /// Makes listeners and tables what they should be.
    async fn settle(&mut self) {
        let envs = &self.envs;
        let is_known = |key: &Key| envs.iter().any(|known| known.env == key.0);
        // Connections that are open can be cut until they end.
        self.upstreams
            .retain(|key, upstream| is_known(key) || upstream.traffic.view().open > 0);
        let wants_answers = self
            .leases
            .iter()
            .any(|(_, scope)| *scope == Scope::Answering);
        let asked = if wants_answers {
            self.envs.as_slice()
        } else {
            &[]
        };
        for env in self.answers.ask(asked) {
            self.answered.retain(|(of, _)| *of != env);
        }
        let leases = self.leases.iter().map(|(_, scope)| scope);
        self.claims = claims(&self.envs, leases, &self.answered, &self.released);
        self.shared = self
            .envs
            .iter()
            .flat_map(|env| env.ports.iter().map(|(port, _)| port.on_host()))
            .collect();
        let listening = self.listening().await;
        let mut wanted: BTreeMap<HostPort, Wanted> = BTreeMap::new();
        for claim in self.claims.clone() {
            let upstream = self.upstream(&claim.key, &claim.name);
            let shared = wanted.entry(claim.host).or_default();
            shared.reach = shared.reach.max(claim.reach);
            match self.stable.of(&claim.key, &self.shared, &listening) {
                Ok(own) => {
                    let own = wanted.entry(own).or_default();
                    own.inside.focused = Some(upstream);
                }
                Err(error) => tracing::warn!(?error, "no port of its own"),
            }
        }
        let shared: BTreeSet<HostPort> = self.claims.iter().map(|claim| claim.host).collect();
        for port in shared {
            let tables = (self.table(port, false), self.table(port, true));
            let wanted = wanted.entry(port).or_default();
            (wanted.inside, wanted.outside) = tables;
        }
        self.ports.set(wanted).await;
        self.tell();
    }

    /// What listens here, as far as that has to be known: to give a port to somebody who has none yet.
    async fn listening(&self) -> Listening {
        let has_one = |claim: &Claim| self.stable.known(&claim.key, &self.shared).is_some();
        if self.claims.iter().all(has_one) {
            return Listening::default();
        }
        // Where it can't be looked, a port that somebody has is found out when it is bound.
        let read = tokio::task::spawn_blocking(Listening::read).await;
        read.unwrap_or_default()
    }

    /// Who is reached by a shared port: from elsewhere, only those whose file opens it.
    fn table(&mut self, port: HostPort, from_elsewhere: bool) -> Table {
        let mut table = Table::default();
        let is_here = |reach: Reach| !from_elsewhere || reach.is_open();
        let of_port = self.claims.iter().filter(|claim| claim.host == port);
        let claims: Vec<Claim> = of_port
            .filter(|claim| is_here(claim.reach))
            .cloned()
            .collect();
        let reaches = |env: &KnownEnv| {
            let mut ports = env.ports.iter();
            ports.any(|(guest, reach)| guest.on_host() == port && is_here(*reach))
        };
        let envs: Vec<KnownEnv> = self
            .envs
            .iter()
            .filter(|env| reaches(env))
            .cloned()
            .collect();
        let focused = focused(&envs, &claims, port, self.focus.of(port));
        let name = |key: &Key| {
            envs.iter()
                .find(|env| env.env == key.0)
                .map(|env| env.name.clone())
        };
        table.focused = focused.and_then(|key| Some(self.upstream(&key, &name(&key)?)));
        // One instance has one name, however many checkouts list it.
        for env in self.envs.clone().into_iter().filter(|env| !env.is_twin) {
            let here = env.ports.iter().find(|(guest, _)| guest.on_host() == port);
            let here = here.filter(|(_, reach)| is_here(*reach));
            match here {
                Some((guest, _)) => {
                    let key = (env.env.clone(), *guest);
                    let upstream = self.upstream(&key, &env.name);
                    table.named.push(upstream);
                }
                None if from_elsewhere => {}
                None => table.elsewhere.push(env.name),
            }
        }
        table
    }

    /// The one of a port of an env: the same one for as long as this process lives, for it counts.
    fn upstream(&mut self, key: &Key, name: &RouteName) -> Arc<Upstream> {
        let ways = self.ways.clone();
        let known = self.upstreams.entry(key.clone());
        let made = known.or_insert_with(|| {
            let (env, port) = key.clone();
            let service = EnvPort { ways, env, port };
            Arc::new(Upstream::new(
                key.0.clone(),
                name.clone(),
                Arc::new(service),
            ))
        });
        made.clone()
    }

    fn cut(&self, env: &EnvRef) {
        let of_env = self.upstreams.iter().filter(|((of, _), _)| of == env);
        of_env.for_each(|(_, upstream)| upstream.cut());
    }

    async fn release(&mut self, port: HostPort) -> Result<()> {
        if !self.claims.iter().any(|claim| claim.host == port) {
            let message = format!("port {port} isn't forwarded");
            return Err(Error::new(ErrorKind::NotFound, message)
                .with_hint("see what is: `lxc-dev-manager ports`"));
        }
        self.released.insert(port);
        self.settle().await;
        Ok(())
    }

    async fn give_focus(&mut self, request: &FocusRequest) -> Result<Vec<FocusMove>> {
        let known = self.envs.iter().find(|known| known.env == request.env);
        let known = known.ok_or_else(|| {
            let message = format!("`{}` isn't seen by who forwards yet", request.env.env);
            Error::new(ErrorKind::NotFound, message).with_hint("try again in a moment")
        })?;
        let has: Vec<GuestPort> = known.ports.iter().map(|(port, _)| *port).collect();
        let asked = match request.port {
            Some(port) if has.contains(&port) => vec![port],
            Some(port) => return Err(no_such_port(&request.env.env, port)),
            None => has,
        };
        let mut moves = Vec::new();
        for port in asked {
            moves.push(self.move_focus(port.on_host(), request)?);
        }
        self.settle().await;
        Ok(moves)
    }

    fn move_focus(&mut self, port: HostPort, request: &FocusRequest) -> Result<FocusMove> {
        let before = focused(&self.envs, &self.claims, port, self.focus.of(port));
        let before = before.filter(|(env, _)| *env != request.env);
        let before = before.and_then(|key| self.upstreams.get(&key).cloned());
        let from = before.as_ref().map(|upstream| upstream.env.clone());
        // A database in the middle of a session isn't a page that is loaded anew.
        let open = before
            .as_ref()
            .map_or(0, |before| before.traffic.view().open_other);
        if request.port.is_none() && open > 0 && !request.cut {
            let kept_by = Some(open);
            return Ok(FocusMove {
                port,
                from,
                kept_by,
            });
        }
        self.focus.set(port, &request.env)?;
        if let (true, Some(before)) = (request.cut, &before) {
            before.cut();
        }
        Ok(FocusMove {
            port,
            from,
            kept_by: None,
        })
    }

    fn forwards(&self) -> Vec<ForwardView> {
        let mut views: Vec<ForwardView> = self
            .claims
            .iter()
            .filter_map(|claim| self.forward(claim))
            .collect();
        views.sort_by_key(|view| (view.env.clone(), view.guest));
        views
    }

    fn forward(&self, claim: &Claim) -> Option<ForwardView> {
        let (env, guest) = claim.key.clone();
        let (state, problem) = self.ports.state(claim.host)?;
        let own = self.stable.known(&claim.key, &self.shared);
        // Another user's, or not ours to open: it leads to no env.
        let is_open = |port: &HostPort| {
            let state = self.ports.state(*port);
            state.is_some_and(|(state, _)| state == PortState::Forwarded)
        };
        let stable = own.filter(is_open);
        let remembered = self.focus.of(claim.host);
        let has_focus = focused(&self.envs, &self.claims, claim.host, remembered);
        let traffic = self.upstreams.get(&claim.key);
        Some(ForwardView {
            env,
            project: claim.project.clone(),
            guest,
            host: claim.host,
            stable,
            name: claim.name.host(),
            state,
            problem,
            focused: state == PortState::Forwarded && has_focus.as_ref() == Some(&claim.key),
            reach: claim.reach,
            traffic: traffic
                .map(|upstream| upstream.traffic.view())
                .unwrap_or_default(),
        })
    }

    /// Tells what is forwarded, if that differs from what was told in more than what has passed.
    fn tell(&mut self) {
        let now = self.forwards();
        let still = |views: &[ForwardView]| -> Vec<ForwardView> {
            let without = |view: &ForwardView| ForwardView {
                traffic: TrafficView::default(),
                ..view.clone()
            };
            views.iter().map(without).collect()
        };
        self.told.send_if_modified(|told| {
            let differs = still(told) != still(&now);
            if differs {
                *told = now;
            }
            differs
        });
    }
}
