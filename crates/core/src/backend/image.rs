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
    /// A public simplestreams server has it.
    Simplestreams {
        /// URL of the server.
        server: String,
        /// Name there.
        alias: String,
    },
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
