//! Images.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::error::Result;
use crate::model::{ImageName, InstanceName, SnapshotName};
use jiff::Timestamp;

use crate::model::Fingerprint;

/// Source of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Stored in the engine.
    Local { fingerprint: Fingerprint },
    /// On a simplestreams server.
    Simplestreams {
        server: String,
        alias: String,
        /// PEM, if the user's client has pinned a certificate.
        certificate: Option<String>,
    },
    /// A Lima template; Lima downloads its image.
    Template { name: String },
    /// On another engine.
    Remote(Box<RemoteImage>),
}

/// An image on another engine, and how to download it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteImage {
    /// URL of the engine.
    pub server: String,
    /// Protocol in the user's client configuration: `lxd` or `incus`.
    pub protocol: String,
    pub fingerprint: Fingerprint,
    /// PEM.
    pub certificate: String,
    /// One-time secret, for private images.
    pub secret: Option<Secret>,
}

/// Masked in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text of the secret.
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

/// An image stored in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    pub fingerprint: Fingerprint,
    /// Sorted; empty for a cached image.
    pub aliases: Vec<String>,
    /// One line.
    pub description: String,
    /// In the engine's notation: `x86_64`.
    pub architecture: String,
    /// Bytes.
    pub size: u64,
    /// Build time.
    pub created_at: Option<Timestamp>,
    /// Downloaded on demand; the engine deletes it when unused.
    pub cached: bool,
}

/// Images of an engine.
#[async_trait]
pub trait Images: Send + Sync {
    /// Finds an image: first among the engine's aliases, then on the user's image servers, then among built-in names.
    ///
    /// # Errors
    /// `NotFound`, with the available images.
    async fn find_image(&self, name: &ImageName) -> Result<Image>;

    /// All images stored in the engine.
    async fn images(&self) -> Result<Vec<StoredImage>>;

    /// Creates an image from a snapshot.
    ///
    /// # Errors
    /// `AlreadyExists` if the alias is in use.
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

    /// Renames an alias.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the new alias is in use.
    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()>;

    /// Writes an image as one file for [`Images::import_image`] of an engine of the same kind.
    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()>;

    /// Imports an image. If the engine has it already, only adds the alias.
    ///
    /// # Errors
    /// `AlreadyExists` if the alias is in use; `Engine` if the file is not an image.
    async fn import_image(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint>;
}
