//! Images, as every backend tells of them.

use jiff::Timestamp;

use crate::model::Fingerprint;

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// The engine has it, under this fingerprint.
    Local {
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// A simplestreams server has it.
    Simplestreams {
        /// URL of the server.
        server: String,
        /// Name there.
        alias: String,
        /// The server's certificate in PEM, where the user's client has noted one.
        certificate: Option<String>,
    },
    /// A template describes it; the engine fetches what that names.
    Template {
        /// The template's name.
        name: String,
    },
    /// Another engine has it.
    Remote(Box<RemoteImage>),
}

/// An image of another engine, and what it takes to get it from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// URL of the engine.
    pub server: String,
    /// What it speaks, as the user's client calls it: `lxd` or `incus`.
    pub protocol: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The engine's certificate in PEM.
    pub certificate: String,
    /// What opens an image that isn't for everybody, once.
    pub secret: Option<Secret>,
}

/// A word that opens something. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it in.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The word itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// An image that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// Its names, sorted; none for one that the engine merely keeps from a server.
    pub aliases: Vec<String>,
    /// A line about it.
    pub description: String,
    /// Architecture, as the engine writes it (`x86_64`).
    pub architecture: String,
    /// Bytes on the disk.
    pub size: u64,
    /// When it was built, where that is known.
    pub created_at: Option<Timestamp>,
    /// Kept from a server, and deleted by the engine when nobody used it for long.
    pub cached: bool,
}
