//! Host names in requests and TLS client hellos.

use std::fmt;
use std::net::IpAddr;

/// Always resolves to loopback (RFC 6761, section 6.3).
const DOMAIN: &str = ".localhost";
/// DNS limit in bytes.
const MAX_NAME: usize = 253;

/// The part of a name before `.localhost`, in lower case: `dev.web`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteName(String);

impl RouteName {
    /// Returns the name of an env, with its project if it has one, in lower case.
    #[must_use]
    pub fn of(env: &str, project: Option<&str>) -> Self {
        let name = match project {
            Some(project) => format!("{env}.{project}"),
            None => env.to_owned(),
        };
        Self(name.to_ascii_lowercase())
    }

    /// The full host name, `dev.web.localhost`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}{DOMAIN}", self.0)
    }
}

impl fmt::Display for RouteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Target that a connection requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The default target of the port.
    Focus,
    /// An env by name.
    Named(RouteName),
    /// Any other name, in lower case. A page of that name may have made it resolve to this host (DNS rebinding).
    Foreign(String),
    /// An invalid or ambiguous host, which is refused, because two programs may read it differently.
    Invalid,
}

impl Target {
    /// Parses `Host:`, `:authority` or the authority of a request target, with optional port and trailing dot.
    #[must_use]
    pub fn of_authority(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix('[') {
            return match rest.split_once(']') {
                Some((address, port)) if is_port(port) && address.parse::<IpAddr>().is_ok() => {
                    Self::Focus
                }
                _ => Self::Invalid,
            };
        }
        let (host, port) = match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        if is_port(port) {
            Self::of_host(host)
        } else {
            Self::Invalid
        }
    }

    /// Parses a host without a port, as in TLS.
    #[must_use]
    pub fn of_host(host: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > MAX_NAME || !host.split('.').all(is_label) {
            return Self::Invalid;
        }
        let lower = host.to_ascii_lowercase();
        match lower.strip_suffix(DOMAIN) {
            Some(name) => Self::Named(RouteName(name.to_owned())),
            None if lower == "localhost" || lower.parse::<IpAddr>().is_ok() => Self::Focus,
            None => Self::Foreign(lower),
        }
    }
}

/// Whether a name can be listed in the file: a host name, and none that is answered anyway.
pub(crate) fn is_foreign_host(text: &str) -> bool {
    matches!(Target::of_host(text), Target::Foreign(name) if name == text)
}

/// Empty, or a colon and a number.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    digits.is_empty()
        || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok())
}

/// A host label. Underscores are allowed, because project names may have them.
fn is_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !label.is_empty() && label.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Target {
        Target::Named(RouteName(text.to_owned()))
    }

    #[test]
    fn names_ignore_case_dot_and_port() {
        for text in [
            "dev.web.localhost",
            "DEV.Web.LocalHost",
            "dev.web.localhost.",
            "dev.web.localhost:5173",
            "dev.web.localhost.:5173",
            "dev.web.localhost:",
        ] {
            assert_eq!(Target::of_authority(text), named("dev.web"), "{text}");
        }
        assert_eq!(Target::of_authority("dev.a_b.localhost"), named("dev.a_b"));
        assert_eq!(
            RouteName::of("Dev", Some("Web")).host(),
            "dev.web.localhost"
        );
    }

    #[test]
    fn addresses_select_the_default_target() {
        for text in [
            "localhost",
            "LOCALHOST.:5173",
            "127.0.0.1:5173",
            "192.168.1.5",
            "[::1]:5173",
            "[::1]",
        ] {
            assert_eq!(Target::of_authority(text), Target::Focus, "{text}");
        }
    }

    #[test]
    fn other_names_are_foreign() {
        for (text, name) in [
            ("box.lan:80", "box.lan"),
            ("Evil.Example.", "evil.example"),
            (
                "dev.web.localhost.example.com",
                "dev.web.localhost.example.com",
            ),
            ("notlocalhost", "notlocalhost"),
            ("127.0.0.1.example", "127.0.0.1.example"),
            ("127.1", "127.1"),
        ] {
            assert_eq!(
                Target::of_authority(text),
                Target::Foreign(name.to_owned()),
                "{text}"
            );
        }
        assert!(is_foreign_host("box.lan"));
        for text in [
            "Box.lan",
            "box.lan.",
            "localhost",
            "a.localhost",
            "10.0.0.1",
            "*",
            "a:80",
            "",
        ] {
            assert!(!is_foreign_host(text), "{text}");
        }
    }

    #[test]
    fn ambiguous_hosts_are_invalid() {
        for text in [
            "",
            "dev.web.localhost@evil.example",
            "user:pass@dev.web.localhost",
            "dev.web.localhost:80:80",
            "dev.web.localhost:port",
            "dev.web.localhost:99999",
            "dev..localhost",
            ".localhost",
            "dev.web.localhost..",
            "dév.web.localhost",
            "dev.web.localhost\r\nX: y",
            "dev.web.localhost/",
            "dev web.localhost",
            "[::1",
            "[dev]:80",
        ] {
            assert_eq!(Target::of_authority(text), Target::Invalid, "{text:?}");
        }
        assert_eq!(
            Target::of_host(&format!("{}.localhost", "a".repeat(300))),
            Target::Invalid
        );
    }
}
