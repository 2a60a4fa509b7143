//! Images of `LIMA_HOME` and templates as an engine's images.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use crate::backend::lima::backend::Lima;
use crate::backend::lima::blocking::blocking;
use crate::backend::{Image, Images, Progress, StoredImage};
use crate::error::{Error, Result};
use crate::model::{Fingerprint, ImageName, InstanceName, SnapshotName};

const EXPORT_BUFFER_BYTES: usize = 1 << 20;

#[async_trait]
impl Images for Lima {
    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        self.ensure_installed()?;
        if let Some(fingerprint) = self.image_store().find_alias(name) {
            return Ok(Image::Local { fingerprint });
        }
        let template = self.templates.for_image(name)?;
        Ok(Image::Template {
            name: template.name.to_string(),
        })
    }

    async fn images(&self) -> Result<Vec<StoredImage>> {
        self.ensure_installed()?;
        Ok(self.image_store().all())
    }

    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
        _cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        self.publish_snapshot(name, snapshot, alias, progress).await
    }

    async fn delete_image(&self, image: &Fingerprint) -> Result<()> {
        self.image_store().delete(image)
    }

    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        self.image_store().rename(alias, new)
    }

    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        _progress: &Progress,
    ) -> Result<()> {
        let (images, image) = (self.image_store(), image.clone());
        let (writer, mut reader) = tokio::io::duplex(EXPORT_BUFFER_BYTES);
        let written = blocking(move || images.export(&image, &mut SyncIoBridge::new(writer)));
        let sent = async {
            let sent = tokio::io::copy(&mut reader, to).await;
            sent.map_err(|error| Error::io("cannot write the image", error))
        };
        tokio::try_join!(written, sent).map(drop)
    }

    async fn import_image(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        _progress: &Progress,
    ) -> Result<Fingerprint> {
        self.ensure_installed()?;
        let (images, alias) = (self.image_store(), alias.clone());
        blocking(move || images.import(&mut SyncIoBridge::new(from), &alias)).await
    }
}
