//! The fake's images. An exported one is JSON.

use std::collections::BTreeMap;

use super::guest::{Files, Node};
use super::state::{State, Stored};
use crate::backend::{Image, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Fingerprint, ImageName};

/// The image that a name means.
pub(super) fn find(state: &State, name: &ImageName) -> Result<Image> {
    let found = state
        .images
        .iter()
        .find(|(image, stored)| is_called(image, stored, name));
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
        format!("the fake engine knows no image `{name}`"),
    )
    .with_hint(format!("there are: {}", names.join(", "))))
}

fn is_called(image: &Fingerprint, stored: &Stored, name: &ImageName) -> bool {
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

/// Takes files in as an image; the same files are the same image.
pub(super) fn add(state: &mut State, files: Files, alias: &ImageName) -> Result<Fingerprint> {
    expect_free(state, alias)?;
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

pub(super) fn expect_free(state: &State, alias: &ImageName) -> Result<()> {
    let mut aliases = state.images.values().flat_map(|stored| &stored.aliases);
    if aliases.any(|known| known == alias.as_str()) {
        let message = format!("the fake engine has an image `{alias}` already");
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
    expect_free(state, new)?;
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
        Error::new(ErrorKind::Engine, "these bytes are no image").caused_by(error)
    })?;
    let nodes = files.into_iter();
    Ok(nodes
        .map(|(path, bytes)| (path, Node::File(bytes)))
        .collect())
}
