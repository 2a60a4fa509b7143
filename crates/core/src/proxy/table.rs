//! Routing tables of listeners.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::name::{RouteName, Target};
use super::sniff::{Protocol, Sniffed};
use super::upstream::Upstream;
use crate::model::HostPort;

/// Routing table of a listener. Immutable: connections keep the table they started with.
#[derive(Default)]
pub struct Table {
    /// Target of connections without a host name.
    pub default: Option<Arc<Upstream>>,
    /// Targets by name. Empty for the own port of an env.
    pub named: Vec<Arc<Upstream>>,
    /// Targets by a name that their file lists.
    pub hosts: Vec<(String, Arc<Upstream>)>,
    /// Names of all envs, with or without this port, for error pages.
    pub names: Arc<BTreeSet<RouteName>>,
}

/// Routing decision.
pub(super) enum Decision {
    To(Arc<Upstream>),
    /// The client gets an error response.
    Refused(Refusal),
}

/// Reason of a refused connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No env has the name.
    Unknown,
    /// No file lists the name.
    Foreign,
    /// Several envs have the name.
    Ambiguous,
    NoSuchPort,
    InvalidName,
    TooLong,
    NoDefaultTarget,
}

impl Table {
    /// Whether connections are routed by name.
    pub(super) fn is_shared(&self) -> bool {
        !self.named.is_empty()
    }

    /// Routes by the sniffed first bytes.
    pub(super) fn decide(&self, sniffed: &Sniffed) -> Decision {
        let requested = match sniffed {
            Sniffed::Known { protocol, target } => match target {
                Target::Named(_) if !self.is_shared() => &Target::Focus,
                // A certificate is for a name, so a rebound one does not fit.
                Target::Foreign(_) if !protocol.is_http() => &Target::Focus,
                Target::Invalid if !protocol.is_http() && !self.is_shared() => &Target::Focus,
                target => target,
            },
            Sniffed::TooLong => return Decision::Refused(Refusal::TooLong),
            _ => &Target::Focus,
        };
        match requested {
            Target::Focus => self
                .default
                .clone()
                .map_or(Decision::Refused(Refusal::NoDefaultTarget), Decision::To),
            Target::Invalid => Decision::Refused(Refusal::InvalidName),
            Target::Named(name) => {
                let found = self.named.iter().filter(|upstream| upstream.name == *name);
                let missing = if self.names.contains(name) {
                    Refusal::NoSuchPort
                } else {
                    Refusal::Unknown
                };
                only(found, missing)
            }
            Target::Foreign(name) => {
                let found = self.hosts.iter().filter(|(host, _)| host == name);
                only(found.map(|(_, upstream)| upstream), Refusal::Foreign)
            }
        }
    }
}

fn only<'a>(mut found: impl Iterator<Item = &'a Arc<Upstream>>, missing: Refusal) -> Decision {
    match (found.next(), found.next()) {
        (Some(one), None) => Decision::To(one.clone()),
        (Some(_), Some(_)) => Decision::Refused(Refusal::Ambiguous),
        (None, _) => Decision::Refused(missing),
    }
}

/// Returns the protocol, if known.
pub(super) fn protocol(sniffed: &Sniffed) -> Option<Protocol> {
    match sniffed {
        Sniffed::Known { protocol, .. } => Some(*protocol),
        Sniffed::TooLong => Some(Protocol::Http1 { html: false }),
        Sniffed::More | Sniffed::Other => None,
    }
}

/// Returns the hosts of all envs, and whether each has this port.
pub(super) fn hosts(table: &Table, port: HostPort) -> Vec<(String, bool)> {
    let here: BTreeSet<&RouteName> = table.named.iter().map(|upstream| &upstream.name).collect();
    let all: BTreeSet<&RouteName> = here.iter().copied().chain(table.names.iter()).collect();
    let mut hosts: Vec<(String, bool)> = all
        .into_iter()
        .map(|name| (format!("{}:{port}", name.host()), here.contains(name)))
        .collect();
    hosts.sort();
    hosts
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::super::upstream::Service;
    use super::*;
    use crate::backend::GuestStream;
    use crate::error::{Error, ErrorKind, Result};
    use crate::view::EnvRef;

    struct Nothing;

    #[async_trait]
    impl Service for Nothing {
        async fn dial(&self) -> Result<GuestStream> {
            Err(Error::new(ErrorKind::Guest, "nothing listens"))
        }
    }

    fn upstream(path: &str, env: &str) -> Arc<Upstream> {
        let name = RouteName::of(env, Some("web"));
        let env = EnvRef {
            project_path: path.to_owned(),
            env: env.parse().unwrap(),
        };
        Arc::new(Upstream::new(env, name, Arc::new(Nothing)))
    }

    fn requested(host: &str) -> Sniffed {
        Sniffed::Known {
            protocol: Protocol::Http2,
            target: Target::of_host(host),
        }
    }

    fn outcome(table: &Table, sniffed: &Sniffed) -> std::result::Result<String, Refusal> {
        match table.decide(sniffed) {
            Decision::To(upstream) => Ok(upstream.env.env.to_string()),
            Decision::Refused(why) => Err(why),
        }
    }

    #[test]
    fn names_take_precedence_over_the_default_target() {
        let (dev, other) = (upstream("/a", "dev"), upstream("/a", "other"));
        let table = Table {
            default: Some(dev.clone()),
            named: vec![dev, other.clone()],
            hosts: vec![("shop.test".to_owned(), other)],
            names: Arc::new(BTreeSet::from([RouteName::of("db", Some("web"))])),
        };
        let cases = [
            (requested("other.web.localhost"), Ok("other")),
            (requested("dev.web.localhost"), Ok("dev")),
            (requested("localhost"), Ok("dev")),
            (Sniffed::Other, Ok("dev")),
            (requested("db.web.localhost"), Err(Refusal::NoSuchPort)),
            (requested("de.web.localhost"), Err(Refusal::Unknown)),
            (requested("a..localhost"), Err(Refusal::InvalidName)),
            (requested("shop.test"), Ok("other")),
            (requested("evil.example"), Err(Refusal::Foreign)),
            (
                Sniffed::Known {
                    protocol: Protocol::Tls,
                    target: Target::of_host("evil.example"),
                },
                Ok("dev"),
            ),
            (Sniffed::TooLong, Err(Refusal::TooLong)),
        ];
        for (sniffed, expected) in cases {
            let expected = expected.map(str::to_owned);
            assert_eq!(outcome(&table, &sniffed), expected, "{sniffed:?}");
        }
    }

    #[test]
    fn ambiguous_names_are_refused() {
        let table = Table {
            named: vec![upstream("/a", "dev"), upstream("/b", "dev")],
            ..Table::default()
        };
        assert_eq!(
            outcome(&table, &requested("dev.web.localhost")),
            Err(Refusal::Ambiguous)
        );
        assert_eq!(
            outcome(&table, &requested("localhost")),
            Err(Refusal::NoDefaultTarget)
        );
    }

    #[test]
    fn hosts_are_unique() {
        let dev = upstream("/a", "dev");
        let all = ["db", "dev"].map(|env| RouteName::of(env, Some("web")));
        let table = Table {
            named: vec![dev],
            names: Arc::new(BTreeSet::from(all)),
            ..Table::default()
        };
        let port = HostPort::new(80).unwrap();
        let expected = [
            ("db.web.localhost:80".to_owned(), false),
            ("dev.web.localhost:80".to_owned(), true),
        ];
        assert_eq!(hosts(&table, port), expected);
    }

    #[test]
    fn own_port_ignores_names() {
        let table = Table {
            default: Some(upstream("/a", "dev")),
            ..Table::default()
        };
        assert_eq!(
            outcome(&table, &requested("other.web.localhost")),
            Ok("dev".to_owned())
        );
        assert_eq!(
            outcome(&table, &requested("evil.example")),
            Err(Refusal::Foreign)
        );
    }
}
