//! TCP ports of guests and of this machine.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

macro_rules! port_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(NonZeroU16);

        impl $name {
            /// Creates a port; `None` for 0.
            #[must_use]
            pub fn new(number: u16) -> Option<Self> {
                NonZeroU16::new(number).map(Self)
            }

            /// The number, 1–65535.
            #[must_use]
            pub fn get(self) -> u16 {
                self.0.get()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

port_type!(
    /// A port of a service in an env.
    GuestPort
);
port_type!(
    /// A port on this machine.
    HostPort
);

impl GuestPort {
    /// The host port of the same number, on which a forward listens.
    #[must_use]
    pub fn on_host(self) -> HostPort {
        HostPort(self.0)
    }
}

/// The addresses on which a forward listens.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum ListenScope {
    /// 127.0.0.1 and ::1.
    #[default]
    Loopback,
    /// All addresses.
    Everywhere,
    /// Loopback and one address of this machine.
    Address(IpAddr),
}

impl ListenScope {
    /// Whether other machines can connect.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Loopback => false,
            Self::Everywhere => true,
            Self::Address(address) => !address.is_loopback(),
        }
    }
}

impl fmt::Display for ListenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Everywhere => f.write_str("everywhere"),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

impl std::str::FromStr for ListenScope {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "everywhere" => Ok(Self::Everywhere),
            _ => text.parse().map(Self::Address).map_err(|_| {
                let message = format!(
                    "invalid listen scope `{text}`: expected `loopback`, `everywhere` or an address"
                );
                Error::new(ErrorKind::Config, message)
            }),
        }
    }
}

impl TryFrom<String> for ListenScope {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ListenScope> for String {
    fn from(scope: ListenScope) -> Self {
        scope.to_string()
    }
}

/// Parses a list such as `5173,8000` without duplicates; empty text is an empty list.
///
/// # Errors
/// [`ErrorKind::InvalidName`] with the invalid or duplicate port.
pub fn parse_port_list(text: &str) -> Result<Vec<GuestPort>> {
    let mut ports = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let port = part.parse()?;
        if ports.contains(&port) {
            return Err(Error::new(
                ErrorKind::InvalidName,
                format!("duplicate port {port}"),
            ));
        }
        ports.push(port);
    }
    Ok(ports)
}

impl std::str::FromStr for GuestPort {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let port = text.parse().ok().and_then(Self::new);
        port.ok_or_else(|| {
            let message = format!("invalid port `{text}`: expected 1–65535");
            Error::new(ErrorKind::InvalidName, message)
        })
    }
}

impl std::str::FromStr for HostPort {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        text.parse::<GuestPort>().map(GuestPort::on_host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_port_lists() {
        let numbers = |text| {
            parse_port_list(text).map(|ports| ports.iter().map(|p| p.get()).collect::<Vec<_>>())
        };
        assert_eq!(numbers("5173, 8000").unwrap(), [5173, 8000]);
        assert_eq!(numbers("").unwrap(), Vec::<u16>::new());
        for bad in ["0", "65536", "http", "80,80", "-1"] {
            assert!(numbers(bad).is_err(), "{bad}");
        }
    }
}
