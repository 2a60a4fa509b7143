//! TCP ports, inside and outside of an env.

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
            /// A port from its number; `None` for 0.
            #[must_use]
            pub fn new(number: u16) -> Option<Self> {
                NonZeroU16::new(number).map(Self)
            }

            /// The number, 1 to 65535.
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
    /// A port on which a service inside of an env listens.
    GuestPort
);
port_type!(
    /// A port on this machine.
    HostPort
);

impl GuestPort {
    /// The host port of the same number: where a forward listens.
    #[must_use]
    pub fn on_host(self) -> HostPort {
        HostPort(self.0)
    }
}

/// From where a forward can be reached.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub enum Reach {
    /// From this machine: 127.0.0.1 and ::1.
    #[default]
    Loopback,
    /// From wherever this machine is reached, because the file says so.
    Everywhere,
    /// From this machine, and where one of its addresses is reached, because the file says so.
    Address(IpAddr),
}

impl Reach {
    /// Whether others than this machine get in.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Loopback => false,
            Self::Everywhere => true,
            Self::Address(address) => !address.is_loopback(),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback => f.write_str("loopback"),
            Self::Everywhere => f.write_str("everywhere"),
            Self::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

impl std::str::FromStr for Reach {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "loopback" => Ok(Self::Loopback),
            "everywhere" => Ok(Self::Everywhere),
            _ => text.parse().map(Self::Address).map_err(|_| {
                let message = format!("`{text}` is no place to listen");
                Error::new(ErrorKind::Config, message)
                    .with_hint("write `loopback`, `everywhere`, or an address of this machine")
            }),
        }
    }
}

impl TryFrom<String> for Reach {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Reach> for String {
    fn from(reach: Reach) -> Self {
        reach.to_string()
    }
}

/// Reads `5173,8000`: ports without a duplicate; an empty text is an empty list.
///
/// # Errors
/// [`ErrorKind::InvalidName`] naming the part that is no port, or the port that stands twice.
pub fn parse_port_list(text: &str) -> Result<Vec<GuestPort>> {
    let mut ports = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let port = part
            .parse::<u16>()
            .ok()
            .and_then(GuestPort::new)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidName,
                    format!("`{part}` is no port: a number from 1 to 65535 is"),
                )
            })?;
        if ports.contains(&port) {
            return Err(Error::new(
                ErrorKind::InvalidName,
                format!("port {port} stands twice"),
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
            let message = format!("`{text}` is no port: 1 to 65535 are");
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
    fn port_lists() {
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
