//! Which ports there should be listeners for, and who is reached by them: pure.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::store::Key;
use crate::model::{EnvStatus, GuestPort, HostPort, InstanceName, PortState, ProjectName, Reach};
use crate::proxy::RouteName;
use crate::view::{EnvRef, EnvView, ProjectView, View};

/// Which envs somebody wants forwarded, for as long as the lease lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "kebab-case")]
pub enum Scope {
    /// This env, whether it runs or not.
    Env {
        /// Which.
        env: EnvRef,
    },
    /// The envs of this project that run.
    Project {
        /// Its directory.
        path: String,
    },
    /// The envs of all known projects that run.
    All,
    /// Ports of running envs on which somebody has answered.
    Answering,
}

/// A port of an env that is to be forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: Key,
    pub(super) project: Option<ProjectName>,
    pub(super) name: RouteName,
    pub(super) host: HostPort,
    pub(super) reach: Reach,
}

/// An env as far as forwards know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownEnv {
    pub(super) env: EnvRef,
    pub(super) project: Option<ProjectName>,
    pub(super) instance: InstanceName,
    pub(super) name: RouteName,
    pub(super) ports: Vec<(GuestPort, Reach)>,
    /// Another checkout of the project made its instance, and is there with it.
    pub(super) is_twin: bool,
    /// It runs.
    pub(super) up: bool,
    /// It runs, or a connection starts it.
    pub(super) reachable: bool,
}

/// The envs of a view, in its order. What can't be seen for a while is as it was: envs of a file that is
/// just being edited, those of an engine that is just being restarted, and those whose project is `away`, unless another
/// checkout has their instance.
pub(super) fn envs(view: &View, before: &[KnownEnv], mut away: Vec<KnownEnv>) -> Vec<KnownEnv> {
    let of_project = |project: &ProjectView| -> Vec<KnownEnv> {
        let known = before
            .iter()
            .filter(|known| known.env.project_path == project.path);
        if project.problem.is_some() && project.envs.is_empty() {
            return known.cloned().collect();
        }
        let was_up = |env: &EnvView| {
            known
                .clone()
                .any(|known| known.env.env == env.name && known.up)
        };
        let envs = project.envs.iter();
        envs.map(|env| {
            let up = env.status.is_up() || (env.status == EnvStatus::Unreachable && was_up(env));
            known_env(&project.path, env, up)
        })
        .collect()
    };
    let mut envs: Vec<KnownEnv> = view.projects.iter().flat_map(of_project).collect();
    away.retain(|away| envs.iter().all(|env| env.instance != away.instance));
    envs.extend(away);
    let made: Vec<InstanceName> = envs
        .iter()
        .filter(|env| !env.is_twin)
        .map(|env| env.instance.clone())
        .collect();
    // Where the one that made it isn't known here, it is as good as any.
    for env in &mut envs {
        env.is_twin &= made.contains(&env.instance);
    }
    envs
}

fn known_env(path: &str, env: &EnvView, up: bool) -> KnownEnv {
    let project = env.project.as_ref().map(ProjectName::as_str);
    // The engine has the others, and their listeners.
    let ports = env.ports.iter();
    let ports = ports.filter(|port| port.state != PortState::Native);
    KnownEnv {
        env: EnvRef {
            project_path: path.to_owned(),
            env: env.name.clone(),
        },
        project: env.project.clone(),
        instance: env.instance.clone(),
        name: RouteName::of(env.name.as_str(), project),
        ports: ports
            .map(|port| (port.guest, port.reach.unwrap_or_default()))
            .collect(),
        is_twin: env.checkout.is_some(),
        up,
        reachable: up || env.wake,
    }
}

impl Scope {
    fn wants(&self, env: &KnownEnv, port: GuestPort, answered: &BTreeSet<Key>) -> bool {
        match self {
            Self::Env { env: wanted } => *wanted == env.env,
            Self::Project { path } => {
                *path == env.env.project_path && env.reachable && !env.is_twin
            }
            Self::All => env.reachable && !env.is_twin,
            Self::Answering => {
                env.reachable && !env.is_twin && answered.contains(&(env.env.clone(), port))
            }
        }
    }
}

impl KnownEnv {
    /// The port of the env that one of this machine leads to.
    pub(super) fn guest(&self, port: HostPort) -> Option<GuestPort> {
        let mut ports = self.ports.iter().map(|(guest, _)| *guest);
        ports.find(|guest| guest.on_host() == port)
    }
}

/// What is to be forwarded, each once, in the order of the leases: who came last is first.
pub(super) fn claims<'a>(
    envs: &[KnownEnv],
    leases: impl DoubleEndedIterator<Item = &'a Scope>,
    answered: &BTreeSet<Key>,
    released: &BTreeSet<HostPort>,
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut claimed = HashSet::new();
    for scope in leases.rev() {
        for env in envs {
            let ports = env.ports.iter();
            let wanted = ports.filter(|(port, _)| scope.wants(env, *port, answered));
            for (port, reach) in wanted {
                let host = port.on_host();
                if released.contains(&host) || !claimed.insert((&env.env, *port)) {
                    continue;
                }
                claims.push(Claim {
                    key: (env.env.clone(), *port),
                    project: env.project.clone(),
                    name: env.name.clone(),
                    host,
                    reach: *reach,
                });
            }
        }
    }
    claims
}

/// Who gets what names nobody, of those who have a port: whoever was given the focus for as long as that env has the port,
/// running or not, else who came last. A client whose database is down must not find another env's in its place.
pub(super) fn focused<'a>(
    mut envs: impl Iterator<Item = (&'a KnownEnv, GuestPort)>,
    mut claims: impl Iterator<Item = &'a Claim>,
    remembered: Option<&EnvRef>,
) -> Option<Key> {
    let known = remembered.and_then(|env| envs.find(|(known, _)| known.env == *env));
    let key = known.map(|(known, guest)| (known.env.clone(), guest));
    key.or_else(|| claims.next().map(|claim| claim.key.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(project: &str, name: &str, ports: &[u16], reachable: bool) -> KnownEnv {
        let ports = ports.iter().filter_map(|port| GuestPort::new(*port));
        KnownEnv {
            env: EnvRef {
                project_path: format!("/{project}"),
                env: name.parse().unwrap(),
            },
            project: project.parse().ok(),
            instance: format!("{project}-{name}").parse().unwrap(),
            name: RouteName::of(name, Some(project)),
            ports: ports.map(|port| (port, Reach::Loopback)).collect(),
            is_twin: false,
            up: reachable,
            reachable,
        }
    }

    fn world() -> Vec<KnownEnv> {
        vec![
            env("web", "dev", &[5173, 8000], true),
            env("web", "other", &[5173], true),
            env("web", "off", &[5173], false),
            env("api", "dev", &[5173], true),
        ]
    }

    fn of(name: &str) -> Scope {
        let all = world();
        let known = all.iter().find(|known| known.name.to_string() == name);
        Scope::Env {
            env: known.unwrap().env.clone(),
        }
    }

    fn shown(claims: &[Claim]) -> Vec<String> {
        let line = |claim: &Claim| format!("{}:{}", claim.name, claim.host);
        claims.iter().map(line).collect()
    }

    fn claimed(leases: &[Scope], released: &[u16]) -> Vec<Claim> {
        let released = released.iter().filter_map(|port| HostPort::new(*port));
        claims(
            &world(),
            leases.iter(),
            &BTreeSet::new(),
            &released.collect(),
        )
    }

    #[test]
    fn an_env_that_was_asked_for_is_forwarded_whether_it_runs_or_not() {
        assert_eq!(shown(&claimed(&[of("off.web")], &[])), ["off.web:5173"]);
    }

    #[test]
    fn of_a_project_those_are_that_run() {
        let web = Scope::Project {
            path: "/web".to_owned(),
        };
        let expected = ["dev.web:5173", "dev.web:8000", "other.web:5173"];
        assert_eq!(shown(&claimed(&[web], &[])), expected);
        assert_eq!(claimed(&[Scope::All], &[]).len(), 4);
    }

    #[test]
    fn a_port_that_was_given_up_is_nobodys() {
        assert_eq!(shown(&claimed(&[of("dev.web")], &[5173])), ["dev.web:8000"]);
    }

    #[test]
    fn the_focus_goes_to_whom_it_was_given_else_to_who_came_last() {
        let envs = world();
        let claims = claimed(&[of("other.web")], &[]);
        let who = |port: u16, remembered: Option<&EnvRef>| {
            let port = HostPort::new(port).unwrap();
            let with_port = envs.iter().filter_map(|env| Some((env, env.guest(port)?)));
            let of_port = claims.iter().filter(|claim| claim.host == port);
            focused(with_port, of_port, remembered).map(|key| key.0)
        };
        let other = Some(envs[1].env.clone());
        assert_eq!(who(5173, None), other);
        // Whether anybody wants it forwarded or not.
        assert_eq!(who(5173, Some(&envs[3].env)), Some(envs[3].env.clone()));
        // Nor whether it runs: it isn't another one's meanwhile.
        assert_eq!(who(5173, Some(&envs[2].env)), Some(envs[2].env.clone()));
        // One that is gone has lost it.
        let gone = EnvRef {
            env: "gone".parse().unwrap(),
            ..envs[1].env.clone()
        };
        assert_eq!(who(5173, Some(&gone)), other);
        assert_eq!(who(8000, Some(&envs[1].env)), None);
    }

    #[test]
    fn the_app_forwards_what_has_answered() {
        let key = (world()[0].env.clone(), GuestPort::new(8000).unwrap());
        let answered = BTreeSet::from([key]);
        let claims = claims(
            &world(),
            [Scope::Answering].iter(),
            &answered,
            &BTreeSet::new(),
        );
        assert_eq!(shown(&claims), ["dev.web:8000"]);
    }
}
