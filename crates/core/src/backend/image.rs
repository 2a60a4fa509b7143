//! Images: types for all backends.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::error::Result;
use crate::model::{ImageName, InstanceName, SnapshotName};
use jiff::Timestamp;

use crate::model::Fingerprint;

/// The source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Stored in the engine.
    Local { fingerprint: Fingerprint },
    /// On a simplestreams server.
    Simplestreams {
        /// The server's URL.
        server: String,
        /// Name on the server.
        alias: String,
        /// The server's certificate in PEM, if the user's client has pinned one.
        certificate: Option<String>,
    },
    /// Described by a template; the engine downloads the image that it names.
    Template {
        /// The template's name.
        name: String,
    },
    /// On another engine.
    Remote(Box<RemoteImage>),
}

/// An image of another engine, with the data to download it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// The engine's URL.
    pub server: String,
    /// The protocol's name in the user's client: `lxd` or `incus`.
    pub protocol: String,
    pub fingerprint: Fingerprint,
    /// The engine's certificate in PEM.
    pub certificate: String,
    /// One-time secret of a private image.
    pub secret: Option<Secret>,
}

/// A secret. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret's text.
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

/// An image in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    pub fingerprint: Fingerprint,
    /// Names, sorted; empty for a cached image.
    pub aliases: Vec<String>,
    /// One-line description.
    pub description: String,
    /// Architecture in the engine's notation (`x86_64`).
    pub architecture: String,
    /// Bytes on disk.
    pub size: u64,
    /// Build time, if known.
    pub created_at: Option<Timestamp>,
    /// Cached from a server; the engine deletes it after a time without use.
    pub cached: bool,
}

/// Images of an engine.
#[async_trait]
pub trait Images: Send + Sync {
    /// Looks an image up by the rules of the house: an alias of the engine's own, then one of a server
    /// that the user has a name for, then a built-in name.
    ///
    /// # Errors
    /// `NotFound` naming the images that are there.
    async fn find_image(&self, name: &ImageName) -> Result<Image>;

    /// All images that the engine has.
    async fn images(&self) -> Result<Vec<StoredImage>>;

    /// Makes an image of a snapshot, under an alias.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias that is taken.
    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint>;

    /// Deletes an image with its aliases.
    async fn delete_image(&self, image: &Fingerprint) -> Result<()>;

    /// Gives an alias another name.
    ///
    /// # Errors
    /// `NotFound` for the old, `AlreadyExists` for the new one.
    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()>;

    /// Writes an image as one file that [`Backend::import_image`] takes, of any engine of this kind.
    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()>;

    /// Takes an image in, under an alias. An image that is there already gets the alias as well.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias that is taken; `Engine` for bytes that are no image.
    async fn import_image(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint>;
}
