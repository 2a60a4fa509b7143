//! The one task that owns the forwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::RemoteAnswers;
use super::plan::{Claim, KnownEnv, Scope, claims, envs, focused};
use super::ports::{LOOK, Ports, Wanted};
use super::renames::{Renames, followed};
use super::route_cache::RouteCache;
use super::store::{Focus, Key, Stable};
use super::tables::{Draining, Upstreams, shares};
use super::{FocusRequest, HandoverServer, Order, no_such_port};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{EnvStatus, GuestPort, HostPort, PortState};
use crate::operations::Operations;
use crate::proxy::Listening;
use crate::view::{EnvRef, FocusMove, ForwardView, View, ViewEvent};
use crate::watch::Watch;

/// How long an env that has stopped is taken as running, and one whose file is away as being there: a restart, a restore
/// or a checkout of another branch closes no port.
const LINGER: Duration = Duration::from_secs(10);

/// How long listeners are kept that the one before had and nobody wants yet: others who had a lease there are on their
/// way.
const INHERITS: Duration = Duration::from_secs(5);
/// The same while an engine doesn't say which envs run.
const INHERITS_UNSEEN: Duration = Duration::from_secs(60);

pub(super) struct Actor {
    /// Envs of which the boot is over to which connections were made.
    ended: mpsc::UnboundedReceiver<EnvRef>,
    answers: RemoteAnswers,
    heard: mpsc::UnboundedReceiver<Key>,
    view: View,
    envs: Vec<KnownEnv>,
    /// Those that run.
    up: BTreeSet<EnvRef>,
    /// Those that have just stopped, until they are taken for stopped.
    lingering: BTreeMap<EnvRef, Instant>,
    /// Those whose whole project has just gone, until they are taken for gone.
    away: BTreeMap<EnvRef, Instant>,
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
    upstreams: Upstreams,
    /// Who gets what names nobody, by port.
    focused: BTreeMap<HostPort, Key>,
    /// Ports that envs have in common, whether they are forwarded or not.
    shared: BTreeSet<HostPort>,
    ports: Ports,
    /// Ports of envs of which the engine didn't answer when that was looked at last.
    unseen: BTreeSet<u16>,
    /// Somebody else is about to forward.
    leaving: bool,
    claims: Vec<Claim>,
    told: watch::Sender<Vec<ForwardView>>,
}

impl Actor {
    pub(super) fn new(
        operations: Arc<Operations>,
        told: watch::Sender<Vec<ForwardView>>,
        ports: Ports,
        tasks: TaskTracker,
        // Of listening, and of the last connection.
        (shutdown, over): (CancellationToken, CancellationToken),
    ) -> Result<Self> {
        let home = operations.home();
        let (mut focus, mut stable) = (Focus::read(home)?, Stable::read(home)?);
        for warning in [focus.warning(), stable.warning()].into_iter().flatten() {
            operations.bus().publish(EventKind::Notice(warning));
        }
        let renames = Renames::read(home)?;
        let (answers, heard) = RemoteAnswers::new(operations.clone(), tasks.clone(), shutdown);
        let (routes, ended) = RouteCache::new(operations, tasks, over);
        Ok(Self {
            ended,
            answers,
            heard,
            view: View::default(),
            envs: Vec::new(),
            up: BTreeSet::new(),
            lingering: BTreeMap::new(),
            away: BTreeMap::new(),
            leases: Vec::new(),
            renames,
            renamed: Vec::new(),
            focus,
            stable,
            released: BTreeSet::new(),
            answered: BTreeSet::new(),
            upstreams: Upstreams::new(routes),
            focused: BTreeMap::new(),
            shared: BTreeSet::new(),
            ports,
            unseen: BTreeSet::new(),
            leaving: false,
            claims: Vec::new(),
            told,
        })
    }

    pub(super) async fn run(&mut self, watch: Watch, mut orders: mpsc::Receiver<Order>) {
        // Kept over the turns of the loop, which others make go round often.
        let mut next_look = Instant::now();
        let (mut begun, mut inherits) = (None, None);
        // A subscriber that fell behind begins again, with the whole.
        while let Some(mut events) = watch.subscribe().await {
            // Not before the first view: an engine may take its time.
            let begun = *begun.get_or_insert_with(Instant::now);
            loop {
                let lingers = self.lingering.values().chain(self.away.values());
                let lingers = lingers.min().copied();
                let inherits = inherits.get_or_insert(begun + INHERITS);
                tokio::select! {
                    event = events.recv() => match event {
                        Some(event) => self.see(event, &mut events).await,
                        None => break,
                    },
                    order = orders.recv() => match order {
                        Some(order) => self.obey(order).await,
                        None => return,
                    },
                    Some(ended) = self.ended.recv() => self.upstreams.cut(&ended),
                    Some(key) = self.heard.recv() => {
                        self.answered.insert(key);
                        self.settle().await;
                    }
                    () = sleep_until(lingers.unwrap_or_else(Instant::now)), if lingers.is_some() => self.look().await,
                    () = sleep_until(*inherits), if self.ports.inherits() => {
                        self.disinherit(begun);
                        *inherits = Instant::now() + INHERITS;
                    }
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

    /// Closes the listeners. What is open goes on.
    pub(super) async fn close(mut self) -> Draining {
        self.ports.set(BTreeMap::new()).await;
        Draining {
            ended: self.ended,
            upstreams: self.upstreams,
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
        let moment = Instant::now();
        let away = self.still_away(moment);
        let mut now = envs(&self.view, &self.envs, away);
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

    /// Gives up what the one before had and nobody wants, but for ports of envs of which an engine doesn't say whether they
    /// run, or didn't until a moment ago.
    fn disinherit(&mut self, begun: Instant) {
        let unseen = match begun.elapsed() < INHERITS_UNSEEN {
            true => self.unseen(),
            false => BTreeSet::new(),
        };
        let before = std::mem::replace(&mut self.unseen, unseen);
        let unseen = &self.unseen;
        self.ports
            .disinherit(|port| unseen.contains(&port) || before.contains(&port));
    }

    /// Ports of envs of which the engine doesn't answer.
    fn unseen(&self) -> BTreeSet<u16> {
        let mut unseen = BTreeSet::new();
        for project in &self.view.projects {
            let away = project.envs.iter();
            for env in away.filter(|env| env.status == EnvStatus::Unreachable) {
                for port in &env.ports {
                    let of = EnvRef {
                        project_path: project.path.clone(),
                        env: env.name.clone(),
                    };
                    let own = self.stable.of(&(of, port.guest), &self.shared);
                    unseen.insert(port.guest.on_host().get());
                    unseen.extend(own.map(HostPort::get));
                }
            }
        }
        unseen
    }

    /// Envs of which the whole project isn't there any more, as they were, for a while.
    fn still_away(&mut self, now: Instant) -> Vec<KnownEnv> {
        let is_there = |env: &&KnownEnv| {
            let mut projects = self.view.projects.iter();
            projects.any(|project| project.path == env.env.project_path)
        };
        let mut away: Vec<KnownEnv> = self
            .envs
            .iter()
            .filter(|env| !is_there(env))
            .cloned()
            .collect();
        let until = |env: &EnvRef| self.away.get(env).copied().unwrap_or(now + LINGER);
        let since = away
            .iter()
            .map(|known| (known.env.clone(), until(&known.env)));
        self.away = since.filter(|(_, until)| *until > now).collect();
        away.retain(|known| self.away.contains_key(&known.env));
        away
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
                let wanted = claims(
                    &self.envs,
                    [&scope].into_iter(),
                    &self.answered,
                    &BTreeSet::new(),
                );
                self.released
                    .retain(|port| wanted.iter().all(|claim| claim.host != *port));
                self.leases.push((number, scope));
                self.settle().await;
            }
            // Those who have one are about to get another, at who forwards next.
            Order::EndLease(_) if self.leaving => {}
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
            Order::HandoverServer(answer) => {
                self.leaving = true;
                let listeners = self.ports.copies().unwrap_or_else(|error| {
                    tracing::warn!(%error, "listeners can't be handed over");
                    Vec::new()
                });
                let leases = self.leases.len();
                let _ = answer.send(HandoverServer { listeners, leases });
            }
        }
    }

    /// Makes listeners and tables what they should be.
    async fn settle(&mut self) {
        self.upstreams.keep(&self.envs);
        let mut leases = self.leases.iter().map(|(_, scope)| scope);
        let asked = match leases.any(|scope| *scope == Scope::Answering) {
            true => self.envs.as_slice(),
            false => &[],
        };
        for env in self.answers.ask(asked) {
            self.answered.retain(|(of, _)| *of != env);
        }
        let leases = self.leases.iter().map(|(_, scope)| scope);
        self.claims = claims(&self.envs, leases, &self.answered, &self.released);
        let ports = self.envs.iter().flat_map(|env| &env.ports);
        self.shared = ports.map(|(port, _)| port.on_host()).collect();
        self.give_own_ports().await;
        let mut wanted: BTreeMap<HostPort, Wanted> = BTreeMap::new();
        for claim in &self.claims {
            let shared = wanted.entry(claim.host).or_default();
            shared.reach = shared.reach.max(claim.reach);
            if let Some(own) = self.stable.of(&claim.key, &self.shared) {
                let upstream = self.upstreams.of(&claim.key, &claim.name);
                wanted.entry(own).or_default().inside.focused = Some(upstream);
            }
        }
        self.focused.clear();
        let shares = shares(&self.envs, &self.claims, &self.focus, &mut self.upstreams);
        for (port, shares) in shares {
            let wanted = wanted.entry(port).or_default();
            (wanted.inside, wanted.outside) = (shares.inside, shares.outside);
            self.focused.extend(shares.focused.map(|key| (port, key)));
        }
        self.ports.set(wanted).await;
        self.tell();
    }

    /// Gives ports of their own to those who have none yet.
    async fn give_own_ports(&mut self) {
        let claims = self.claims.iter();
        let missing = claims.filter(|claim| self.stable.of(&claim.key, &self.shared).is_none());
        let missing: Vec<Key> = missing.map(|claim| claim.key.clone()).collect();
        if missing.is_empty() {
            return;
        }
        // Where it can't be looked, a port that somebody has is found out when it is bound.
        let listening = tokio::task::spawn_blocking(Listening::read).await;
        let listening = listening.unwrap_or_default();
        if let Err(error) = self.stable.give(&missing, &self.shared, &listening) {
            tracing::warn!(?error, "no port of its own");
        }
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
        let with_port = self.envs.iter();
        let with_port = with_port.filter_map(|env| Some((env, env.guest(port)?)));
        let of_port = self.claims.iter().filter(|claim| claim.host == port);
        let before = focused(with_port, of_port, self.focus.of(port));
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
        let own = self.stable.of(&claim.key, &self.shared);
        // Another user's, or not ours to open: it leads to no env.
        let is_open = |port: &HostPort| {
            let state = self.ports.state(*port);
            state.is_some_and(|(state, _)| state == PortState::Forwarded)
        };
        let stable = own.filter(is_open);
        let has_focus = self.focused.get(&claim.host);
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
            focused: state == PortState::Forwarded && has_focus == Some(&claim.key),
            reach: claim.reach,
            traffic: traffic
                .map(|upstream| upstream.traffic.view())
                .unwrap_or_default(),
        })
    }

    /// Tells what is forwarded, if that differs from what was told in more than what has passed.
    fn tell(&mut self) {
        let now = self.forwards();
        self.told.send_if_modified(|told| {
            let same = told.len() == now.len()
                && told.iter().zip(&now).all(|(told, now)| told.is_still(now));
            if !same {
                *told = now;
            }
            !same
        });
    }
}
