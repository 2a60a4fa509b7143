//! Who gets a connection that comes in by a listener.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::name::{Asked, RouteName};
use super::sniff::{Protocol, Sniffed};
use super::upstream::Upstream;
use crate::model::HostPort;

/// Who may be reached by one listener. Replaced as a whole when something changes; a connection keeps the
/// one that it came in by.
#[derive(Default)]
pub struct Table {
    /// Who gets what asks for nobody.
    pub focused: Option<Arc<Upstream>>,
    /// Who can be asked for by name. Empty where the listener is one env's own.
    pub named: Vec<Arc<Upstream>>,
    /// All envs, with this port or without it, for the page that lists what there is.
    pub names: Arc<BTreeSet<RouteName>>,
}

/// What becomes of a connection.
pub(super) enum Decision {
    /// It goes there.
    To(Arc<Upstream>),
    /// Nobody gets it, and its client is told why.
    Refused(Refusal),
}

/// Why nobody gets a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No env is called so.
    Unknown,
    /// More than one env is called so.
    Ambiguous,
    /// The env has no such port.
    NoSuchPort,
    /// The name can't be one.
    Garbled,
    /// The head is too long.
    TooLong,
    /// The port has nobody's focus.
    NoFocus,
}

impl Table {
    /// Whether a client's first bytes make a difference.
    pub(super) fn is_shared(&self) -> bool {
        !self.named.is_empty()
    }

    /// Decides by what the first bytes have said.
    pub(super) fn decide(&self, sniffed: &Sniffed) -> Decision {
        let asked = match sniffed {
            Sniffed::Known { asked, .. } if self.is_shared() => asked,
            Sniffed::TooLong => return Decision::Refused(Refusal::TooLong),
            _ => &Asked::Focus,
        };
        match asked {
            Asked::Focus => self
                .focused
                .clone()
                .map_or(Decision::Refused(Refusal::NoFocus), Decision::To),
            Asked::Garbled => Decision::Refused(Refusal::Garbled),
            Asked::Named(name) => self.named(name),
        }
    }

    fn named(&self, name: &RouteName) -> Decision {
        let mut found = self.named.iter().filter(|upstream| upstream.name == *name);
        match (found.next(), found.next()) {
            (Some(one), None) => Decision::To(one.clone()),
            (Some(_), Some(_)) => Decision::Refused(Refusal::Ambiguous),
            (None, _) if self.names.contains(name) => Decision::Refused(Refusal::NoSuchPort),
            (None, _) => Decision::Refused(Refusal::Unknown),
        }
    }
}

/// The protocol, where it is known.
pub(super) fn protocol(sniffed: &Sniffed) -> Option<Protocol> {
    match sniffed {
        Sniffed::Known { protocol, .. } => Some(*protocol),
        Sniffed::TooLong => Some(Protocol::Http1 { html: false }),
        Sniffed::More | Sniffed::Other => None,
    }
}

/// The hosts that lead somewhere, with whether this port is theirs.
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

    fn asked(host: &str) -> Sniffed {
        Sniffed::Known {
            protocol: Protocol::Http2,
            asked: Asked::of_host(host),
        }
    }

    fn outcome(table: &Table, sniffed: &Sniffed) -> std::result::Result<String, Refusal> {
        match table.decide(sniffed) {
            Decision::To(upstream) => Ok(upstream.env.env.to_string()),
            Decision::Refused(why) => Err(why),
        }
    }

    #[test]
    fn a_name_beats_the_focus_and_all_else_goes_there() {
        let (dev, other) = (upstream("/a", "dev"), upstream("/a", "other"));
        let table = Table {
            focused: Some(dev.clone()),
            named: vec![dev, other],
            names: Arc::new(BTreeSet::from([RouteName::of("db", Some("web"))])),
        };
        let cases = [
            (asked("other.web.localhost"), Ok("other")),
            (asked("dev.web.localhost"), Ok("dev")),
            (asked("localhost"), Ok("dev")),
            (Sniffed::Other, Ok("dev")),
            (asked("db.web.localhost"), Err(Refusal::NoSuchPort)),
            (asked("de.web.localhost"), Err(Refusal::Unknown)),
            (asked("a..localhost"), Err(Refusal::Garbled)),
            (Sniffed::TooLong, Err(Refusal::TooLong)),
        ];
        for (sniffed, expected) in cases {
            let expected = expected.map(str::to_owned);
            assert_eq!(outcome(&table, &sniffed), expected, "{sniffed:?}");
        }
    }

    #[test]
    fn two_envs_of_one_name_are_never_mixed_up() {
        let table = Table {
            focused: None,
            named: vec![upstream("/a", "dev"), upstream("/b", "dev")],
            names: Arc::default(),
        };
        assert_eq!(
            outcome(&table, &asked("dev.web.localhost")),
            Err(Refusal::Ambiguous)
        );
        assert_eq!(outcome(&table, &asked("localhost")), Err(Refusal::NoFocus));
    }

    #[test]
    fn the_page_lists_each_name_once() {
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
    fn a_port_of_one_env_alone_asks_for_no_name() {
        let table = Table {
            focused: Some(upstream("/a", "dev")),
            ..Table::default()
        };
        assert_eq!(
            outcome(&table, &asked("other.web.localhost")),
            Ok("dev".to_owned())
        );
    }
}
