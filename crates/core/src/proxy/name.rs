//! What a connection calls the machine that it wants: the host of a request, or of a TLS greeting.

use std::fmt;
use std::net::IpAddr;

/// The domain that never leaves this machine (RFC 6761, section 6.3).
const DOMAIN: &str = ".localhost";
/// The longest name that DNS has, in bytes.
const MAX_NAME: usize = 253;

/// The part of a name before `.localhost`, in lower case: `dev.web`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteName(String);

impl RouteName {
    /// The name of an env: with its project, or alone where it has none. Host names know no upper case.
    #[must_use]
    pub fn of(env: &str, project: Option<&str>) -> Self {
        let name = match project {
            Some(project) => format!("{env}.{project}"),
            None => env.to_owned(),
        };
        Self(name.to_ascii_lowercase())
    }

    /// The whole host name, `dev.web.localhost`.
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

/// Whom a connection asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Nobody in particular: who has the port's focus.
    Focus,
    /// An env, by its name.
    Named(RouteName),
    /// Something that no host can be called. Nobody gets it, for two programs may read it differently.
    Garbled,
}

impl Asked {
    /// Reads a host as it stands in `Host:`, in `:authority` or in a request's target: with or without
    /// a port, and with or without a dot at its end.
    #[must_use]
    pub fn of_authority(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix('[') {
            return match rest.split_once(']') {
                Some((address, port)) if is_port(port) && address.parse::<IpAddr>().is_ok() => {
                    Self::Focus
                }
                _ => Self::Garbled,
            };
        }
        let (host, port) = match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        match is_port(port) {
            true => Self::of_host(host),
            false => Self::Garbled,
        }
    }

    /// Reads a host without a port, as TLS has it.
    #[must_use]
    pub fn of_host(host: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        if host.len() > MAX_NAME || !host.split('.').all(is_label) {
            return Self::Garbled;
        }
        let lower = host.to_ascii_lowercase();
        match lower.strip_suffix(DOMAIN) {
            Some(name) => Self::Named(RouteName(name.to_owned())),
            None => Self::Focus,
        }
    }
}

/// Nothing, or a colon and a number.
fn is_port(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(':') else {
        return text.is_empty();
    };
    digits.is_empty()
        || (digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok())
}

/// A label as hosts have it; an underscore too, for projects may have one.
fn is_label(label: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !label.is_empty() && label.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Asked {
        Asked::Named(RouteName(text.to_owned()))
    }

    #[test]
    fn names_are_read_whatever_their_case_dot_and_port() {
        for text in [
            "dev.web.localhost",
            "DEV.Web.LocalHost",
            "dev.web.localhost.",
            "dev.web.localhost:5173",
            "dev.web.localhost.:5173",
            "dev.web.localhost:",
        ] {
            assert_eq!(Asked::of_authority(text), named("dev.web"), "{text}");
        }
        assert_eq!(Asked::of_authority("dev.a_b.localhost"), named("dev.a_b"));
        assert_eq!(
            RouteName::of("Dev", Some("Web")).host(),
            "dev.web.localhost"
        );
    }

    #[test]
    fn other_hosts_mean_the_focus() {
        for text in [
            "localhost",
            "localhost:5173",
            "127.0.0.1:5173",
            "[::1]:5173",
            "[::1]",
            "box.lan",
            "dev.web.localhost.example.com",
            "notlocalhost",
        ] {
            assert_eq!(Asked::of_authority(text), Asked::Focus, "{text}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_nobodys() {
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
            assert_eq!(Asked::of_authority(text), Asked::Garbled, "{text:?}");
        }
        assert_eq!(
            Asked::of_host(&format!("{}.localhost", "a".repeat(300))),
            Asked::Garbled
        );
    }
}
