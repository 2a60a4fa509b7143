//! Pure functions from view and leases to claimed ports and default targets.

use std::collections::{BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use super::store::Key;
use crate::model::{
    EnvStatus, GuestPort, HostPort, InstanceName, ListenScope, PortState, ProjectName,
};
use crate::proxy::RouteName;
use crate::view::{EnvRef, EnvView, ProjectView, View};

/// Envs that a lease requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "scope", rename_all = "kebab-case")]
pub enum Scope {
    /// One env, running or not.
    Env { env: EnvRef },
    /// Running envs of a project.
    Project {
        /// Directory of the project.
        path: String,
    },
    /// Running envs of all known projects.
    All,
    /// Ports of running envs with a listener in the guest.
    Answering,
}

/// A port to forward.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key: Key,
    pub(super) project: Option<ProjectName>,
    pub(super) name: RouteName,
    pub(super) host: HostPort,
    pub(super) reach: ListenScope,
}

/// An env as forwards see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownEnv {
    pub(super) env: EnvRef,
    pub(super) project: Option<ProjectName>,
    pub(super) instance: InstanceName,
    pub(super) name: RouteName,
    pub(super) ports: Vec<(GuestPort, ListenScope)>,
    /// Other host names that its ports answer to.
    pub(super) hosts: Vec<String>,
    /// Created by another checkout of the project that is also known.
    pub(super) is_other_checkout: bool,
    pub(super) running: bool,
    /// Running, or started by a connection.
    pub(super) reachable: bool,
}

/// Returns the envs of a view in its order. Temporarily invisible envs keep their state: those of an invalid file, of
/// an unreachable engine, and of `missing` projects unless another checkout has their instance.
pub(super) fn envs(view: &View, before: &[KnownEnv], mut missing: Vec<KnownEnv>) -> Vec<KnownEnv> {
    let of_project = |project: &ProjectView| -> Vec<KnownEnv> {
        let known = before
            .iter()
            .filter(|known| known.env.project_path == project.path);
        if project.problem.is_some() && project.envs.is_empty() {
            return known.cloned().collect();
        }
        let was_running = |env: &EnvView| {
            known
                .clone()
                .any(|known| known.env.env == env.name && known.running)
        };
        let envs = project.envs.iter();
        envs.map(|env| {
            let running =
                env.status.is_up() || (env.status == EnvStatus::Unreachable && was_running(env));
            known_env(&project.path, env, running)
        })
        .collect()
    };
    let mut envs: Vec<KnownEnv> = view.projects.iter().flat_map(of_project).collect();
    missing.retain(|missing| envs.iter().all(|env| env.instance != missing.instance));
    envs.extend(missing);
    let created: Vec<InstanceName> = envs
        .iter()
        .filter(|env| !env.is_other_checkout)
        .map(|env| env.instance.clone())
        .collect();
    // If the creating checkout is unknown, this one counts as its owner.
    for env in &mut envs {
        env.is_other_checkout &= created.contains(&env.instance);
    }
    envs
}

fn known_env(path: &str, env: &EnvView, running: bool) -> KnownEnv {
    let project = env.project.as_ref().map(ProjectName::as_str);
    // The engine itself listens on native ports.
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
        hosts: env.hosts.clone(),
        is_other_checkout: env.checkout.is_some(),
        running,
        reachable: running || env.wake,
    }
}

impl Scope {
    fn includes(&self, env: &KnownEnv, port: GuestPort, listening: &BTreeSet<Key>) -> bool {
        match self {
            Self::Env { env: requested } => *requested == env.env,
            Self::Project { path } => {
                *path == env.env.project_path && env.reachable && !env.is_other_checkout
            }
            Self::All => env.reachable && !env.is_other_checkout,
            Self::Answering => {
                env.reachable
                    && !env.is_other_checkout
                    && listening.contains(&(env.env.clone(), port))
            }
        }
    }
}

impl KnownEnv {
    /// Returns the guest port behind a host port.
    pub(super) fn guest(&self, port: HostPort) -> Option<GuestPort> {
        let mut ports = self.ports.iter().map(|(guest, _)| *guest);
        ports.find(|guest| guest.on_host() == port)
    }
}

/// Returns the ports to forward without duplicates, newest lease first.
pub(super) fn claims<'a>(
    envs: &[KnownEnv],
    leases: impl DoubleEndedIterator<Item = &'a Scope>,
    listening: &BTreeSet<Key>,
    released: &BTreeSet<HostPort>,
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    let mut claimed = HashSet::new();
    for scope in leases.rev() {
        for env in envs {
            let ports = env.ports.iter();
            let requested = ports.filter(|(port, _)| scope.includes(env, *port, listening));
            for (port, reach) in requested {
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

/// Returns the default target of a port: the stored one while that env has the port, running or not, else that of the
/// newest claim. A client whose database is down must not reach that of another env.
pub(super) fn default_target<'a>(
    mut envs: impl Iterator<Item = (&'a KnownEnv, GuestPort)>,
    mut claims: impl Iterator<Item = &'a Claim>,
    stored: Option<&EnvRef>,
) -> Option<Key> {
    let known = stored.and_then(|env| envs.find(|(known, _)| known.env == *env));
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
            ports: ports.map(|port| (port, ListenScope::Loopback)).collect(),
            hosts: Vec::new(),
            is_other_checkout: false,
            running: reachable,
            reachable,
        }
    }

    fn sample_envs() -> Vec<KnownEnv> {
        vec![
            env("web", "dev", &[5173, 8000], true),
            env("web", "other", &[5173], true),
            env("web", "off", &[5173], false),
            env("api", "dev", &[5173], true),
        ]
    }

    fn scope_of(name: &str) -> Scope {
        let all = sample_envs();
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
            &sample_envs(),
            leases.iter(),
            &BTreeSet::new(),
            &released.collect(),
        )
    }

    #[test]
    fn env_scope_includes_stopped_env() {
        assert_eq!(
            shown(&claimed(&[scope_of("off.web")], &[])),
            ["off.web:5173"]
        );
    }

    #[test]
    fn project_scope_includes_only_running_envs() {
        let web = Scope::Project {
            path: "/web".to_owned(),
        };
        let expected = ["dev.web:5173", "dev.web:8000", "other.web:5173"];
        assert_eq!(shown(&claimed(&[web], &[])), expected);
        assert_eq!(claimed(&[Scope::All], &[]).len(), 4);
    }

    #[test]
    fn released_port_is_not_claimed() {
        assert_eq!(
            shown(&claimed(&[scope_of("dev.web")], &[5173])),
            ["dev.web:8000"]
        );
    }

    #[test]
    fn default_target_is_the_stored_env_or_the_newest_claim() {
        let envs = sample_envs();
        let claims = claimed(&[scope_of("other.web")], &[]);
        let target = |port: u16, stored: Option<&EnvRef>| {
            let port = HostPort::new(port).unwrap();
            let with_port = envs.iter().filter_map(|env| Some((env, env.guest(port)?)));
            let of_port = claims.iter().filter(|claim| claim.host == port);
            default_target(with_port, of_port, stored).map(|key| key.0)
        };
        let other = Some(envs[1].env.clone());
        assert_eq!(target(5173, None), other);
        // Even without a claim.
        assert_eq!(target(5173, Some(&envs[3].env)), Some(envs[3].env.clone()));
        // Even while stopped.
        assert_eq!(target(5173, Some(&envs[2].env)), Some(envs[2].env.clone()));
        // Not after the env is gone.
        let gone = EnvRef {
            env: "gone".parse().unwrap(),
            ..envs[1].env.clone()
        };
        assert_eq!(target(5173, Some(&gone)), other);
        assert_eq!(target(8000, Some(&envs[1].env)), None);
    }

    #[test]
    fn answering_scope_includes_only_listening_ports() {
        let key = (sample_envs()[0].env.clone(), GuestPort::new(8000).unwrap());
        let listening = BTreeSet::from([key]);
        let claims = claims(
            &sample_envs(),
            [Scope::Answering].iter(),
            &listening,
            &BTreeSet::new(),
        );
        assert_eq!(shown(&claims), ["dev.web:8000"]);
    }
}
