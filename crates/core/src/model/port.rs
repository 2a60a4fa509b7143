//! TCP ports, inside and outside of an env.

use std::fmt;
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
