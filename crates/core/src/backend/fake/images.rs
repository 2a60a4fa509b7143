//! The fake's images. Exports are JSON.

use crate::backend::Images;
use crate::backend::Progress;
use crate::backend::fake::Fake;
use crate::model::InstanceName;
use crate::model::SnapshotName;
use async_trait::async_trait;
use std::collections::BTreeMap;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::guest::{Files, Node};
use super::state::{FakeImage, State};
use crate::backend::{Image, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Fingerprint, ImageName};

pub(super) fn find(state: &State, name: &ImageName) -> Result<Image> {
    let found = state
        .images
        .iter()
        .find(|(image, stored)| has_name(image, stored, name));
    if let Some((fingerprint, _)) = found {
        return Ok(Image::Local {
            fingerprint: fingerprint.clone(),
        });
    }
    let names: Vec<String> = state
        .images
        .values()
        .flat_map(|stored| stored.aliases.clone())
        .collect();
    Err(Error::new(
        ErrorKind::NotFound,
        format!("the fake engine has no image `{name}`"),
    )
    .with_hint(format!("known images: {}", names.join(", "))))
}

fn has_name(image: &Fingerprint, stored: &FakeImage, name: &ImageName) -> bool {
    stored.aliases.iter().any(|alias| alias == name.as_str()) || image.as_str() == name.as_str()
}

pub(super) fn list(state: &State) -> Vec<StoredImage> {
    let images = state.images.iter();
    images
        .map(|(fingerprint, stored)| StoredImage {
            fingerprint: fingerprint.clone(),
            aliases: stored.aliases.clone(),
            description: String::new(),
            architecture: "x86_64".to_owned(),
            size: 1,
            created_at: None,
            cached: false,
        })
        .collect()
}

/// Adds an image. Equal files share a fingerprint.
pub(super) fn add(state: &mut State, files: Files, alias: &ImageName) -> Result<Fingerprint> {
    ensure_free_alias(state, alias)?;
    let known = state
        .images
        .iter()
        .find(|(_, stored)| stored.files == files);
    let fingerprint = match known {
        Some((fingerprint, _)) => fingerprint.clone(),
        None => Fingerprint::parse(&format!("{:012x}", state.images.len() + 1))?,
    };
    let stored = state.images.entry(fingerprint.clone()).or_default();
    stored.files = files;
    stored.aliases.push(alias.to_string());
    Ok(fingerprint)
}

pub(super) fn ensure_free_alias(state: &State, alias: &ImageName) -> Result<()> {
    let mut aliases = state.images.values().flat_map(|stored| &stored.aliases);
    if aliases.any(|known| known == alias.as_str()) {
        let message = format!("the fake engine already has an image `{alias}`");
        return Err(Error::new(ErrorKind::AlreadyExists, message));
    }
    Ok(())
}

pub(super) fn delete(state: &mut State, image: &Fingerprint) -> Result<()> {
    state.images.remove(image).map(drop).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the fake engine has no image {}", image.short()),
        )
    })
}

pub(super) fn rename(state: &mut State, alias: &ImageName, new: &ImageName) -> Result<()> {
    ensure_free_alias(state, new)?;
    let mut aliases = state
        .images
        .values_mut()
        .flat_map(|stored| &mut stored.aliases);
    let known = aliases.find(|known| *known == alias.as_str());
    let known = known.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the fake engine has no image `{alias}`"),
        )
    })?;
    *known = new.to_string();
    Ok(())
}

pub(super) fn export(state: &State, image: &Fingerprint) -> Result<Vec<u8>> {
    let stored = state.images.get(image).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the fake engine has no image {}", image.short()),
        )
    })?;
    let files: BTreeMap<&String, &Vec<u8>> = stored
        .files
        .iter()
        .filter_map(|(path, node)| match node {
            Node::File(bytes) => Some((path, bytes)),
            _ => None,
        })
        .collect();
    serde_json::to_vec(&files)
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot export").caused_by(error))
}

pub(super) fn read(bytes: &[u8]) -> Result<Files> {
    let files: BTreeMap<String, Vec<u8>> = serde_json::from_slice(bytes).map_err(|error| {
        Error::new(ErrorKind::Engine, "the data is not an image").caused_by(error)
    })?;
    let nodes = files.into_iter();
    Ok(nodes
        .map(|(path, bytes)| (path, Node::File(bytes)))
        .collect())
}

#[async_trait]
impl Images for Fake {
    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        find(&*self.call("find_image")?, name)
    }

    async fn images(&self) -> Result<Vec<StoredImage>> {
        Ok(list(&*self.call("images")?))
    }

    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        _progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        let mut fingerprint = None;
        self.change(|| {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let mut state = self.call("publish")?;
            let instance = state.instance_mut(name)?;
            let files = instance.snapshots[instance.position(name, snapshot)?]
                .files
                .clone();
            fingerprint = Some(add(&mut state, files, alias)?);
            Ok(())
        })
        .await?;
        fingerprint.ok_or_else(|| Error::new(ErrorKind::Internal, "nothing was published"))
    }

    async fn delete_image(&self, image: &Fingerprint) -> Result<()> {
        self.change(|| delete(&mut *self.call("delete_image")?, image))
            .await
    }

    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        self.change(|| rename(&mut *self.call("rename_image")?, alias, new))
            .await
    }

    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        _progress: &Progress,
    ) -> Result<()> {
        let bytes = export(&*self.call("export_image")?, image)?;
        let written = to.write_all(&bytes).await;
        written.map_err(|error| Error::io("cannot write the image", error))
    }

    async fn import_image(
        &self,
        mut from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        _progress: &Progress,
    ) -> Result<Fingerprint> {
        ensure_free_alias(&*self.call("import_image")?, alias)?;
        let mut bytes = Vec::new();
        let received = from.read_to_end(&mut bytes).await;
        received.map_err(|error| Error::io("cannot read the image", error))?;
        add(&mut self.lock(), read(&bytes)?, alias)
    }
}
