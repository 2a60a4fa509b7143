//! An engine's stored images: list, publish, delete, rename, export, import.

use super::LxcBackend;
use crate::backend::Image;
use crate::backend::Images;
use async_trait::async_trait;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;
use hyper::header;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::client::url_part;
use super::client::{Client, DOWNLOAD_TIMEOUT};
use super::files::header_prefix;
use super::operation;
use super::wire::Envelope;
use crate::backend::{Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::hex;
use crate::model::{Fingerprint, ImageName, InstanceName, SnapshotName};

const CHUNK_BYTES: usize = 64 * 1024;
/// Longest pause in a download.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// Start of a split image (metadata and root filesystem apart), which is `multipart/form-data`. No
/// archive starts with it.
const MULTIPART_PREFIX: &[u8] = b"--";
/// Content type of a single archive.
const ARCHIVE: &str = "application/octet-stream";
/// RFC 2046 allows boundaries of 70 characters.
const MAX_BOUNDARY_BYTES: usize = 200;

#[derive(Deserialize)]
struct RawImage {
    fingerprint: Fingerprint,
    aliases: Option<Vec<Alias>>,
    #[serde(default)]
    properties: Option<std::collections::BTreeMap<String, String>>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    size: u64,
    created_at: Option<Timestamp>,
    #[serde(default)]
    cached: bool,
}

#[derive(Deserialize)]
pub(super) struct Alias {
    pub(super) name: String,
}

impl From<RawImage> for StoredImage {
    fn from(raw: RawImage) -> Self {
        let aliases = raw.aliases.unwrap_or_default().into_iter();
        let mut aliases: Vec<String> = aliases.map(|alias| alias.name).collect();
        aliases.sort();
        let description = raw.properties.unwrap_or_default().remove("description");
        Self {
            fingerprint: raw.fingerprint,
            aliases,
            description: description.unwrap_or_default(),
            architecture: raw.architecture,
            size: raw.size,
            // The epoch means unknown.
            created_at: raw.created_at.filter(|at| at.as_second() > 0),
            cached: raw.cached,
        }
    }
}

pub(super) async fn alias_target(client: &Client, alias: &str) -> Result<Option<Fingerprint>> {
    let path = format!("/1.0/images/aliases/{}", url_part(alias));
    match client.get::<serde_json::Value>(&path).await {
        Ok(found) => found["target"].as_str().map(Fingerprint::parse).transpose(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn ensure_free_alias(client: &Client, alias: &ImageName) -> Result<()> {
    match alias_target(client, alias.as_str()).await? {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("{} already has an image `{alias}`", client.kind()),
        )
        .with_hint(format!(
            "choose another name, or delete the image: `lxc-dev-manager image delete {alias}`"
        ))),
    }
}

async fn add_alias(client: &Client, alias: &ImageName, image: &Fingerprint) -> Result<()> {
    let body = json!({ "name": alias, "target": image });
    client.change("POST", "/1.0/images/aliases", &body).await
}

fn fingerprint(client: &Client, metadata: Option<serde_json::Value>) -> Result<Fingerprint> {
    let text = metadata
        .as_ref()
        .and_then(|metadata| metadata["fingerprint"].as_str());
    let text = text
        .ok_or_else(|| client.engine_error(ErrorKind::Engine, "no fingerprint of the new image"))?;
    Fingerprint::parse(text)
}

fn incomplete(client: &Client, why: &str) -> Error {
    client.engine_error(
        ErrorKind::Engine,
        &format!("the image is incomplete: {why}"),
    )
}

fn content_type(head: &[u8]) -> String {
    let boundary = head.strip_prefix(MULTIPART_PREFIX).and_then(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (plain && !text.is_empty()).then_some(text)
    });
    match boundary {
        Some(boundary) => format!("multipart/form-data; boundary={boundary}"),
        None => ARCHIVE.to_owned(),
    }
}

/// Counts bytes and reports each percent.
struct TransferProgress<'a> {
    progress: &'a Progress,
    label: &'static str,
    total: Option<u64>,
    bytes: u64,
    reported: Option<u8>,
}

impl<'a> TransferProgress<'a> {
    fn new(progress: &'a Progress, label: &'static str, total: Option<u64>) -> Self {
        Self {
            progress,
            label,
            total,
            bytes: 0,
            reported: None,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let total = self.total.filter(|total| *total > 0);
        let percent = total.and_then(|total| u8::try_from(self.bytes * 100 / total).ok());
        if self.bytes == 0 || percent != self.reported {
            self.progress.step(self.label, percent);
            self.reported = percent;
        }
    }
}

#[async_trait]
impl Images for LxcBackend {
    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        super::image::find(&self.client, &self.remotes, name).await
    }

    async fn images(&self) -> Result<Vec<StoredImage>> {
        let client = &self.client;
        let found: Vec<RawImage> = client.list("/1.0/images?recursion=1").await?;
        Ok(found.into_iter().map(StoredImage::from).collect())
    }

    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        let client = &self.client;
        // Check again: the snapshot may have taken minutes since the caller's check.
        ensure_free_alias(client, alias).await?;
        let body = json!({
            "source": { "type": "snapshot", "name": format!("{name}/{snapshot}") },
            "properties": { "description": alias },
            // Created with the image, so that no image is without a name.
            "aliases": [{ "name": alias, "description": "" }],
        });
        match operation::change(client, "/1.0/images", &body, progress, cancel).await {
            Ok(operation) => fingerprint(client, operation.metadata),
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                // The image may be complete already.
                if let Some(image) = alias_target(client, alias.as_str()).await? {
                    self.delete_image(&image).await?;
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn delete_image(&self, image: &Fingerprint) -> Result<()> {
        let client = &self.client;
        let path = format!("/1.0/images/{image}");
        client.change("DELETE", &path, &json!({})).await
    }

    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        let client = &self.client;
        ensure_free_alias(client, new).await?;
        let path = format!("/1.0/images/aliases/{}", url_part(alias.as_str()));
        client.change("POST", &path, &json!({ "name": new })).await
    }

    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()> {
        let client = &self.client;
        let path = format!("/1.0/images/{image}/export");
        let response = client
            .stream(
                "GET",
                &path,
                &[],
                super::client::full_body(""),
                DOWNLOAD_TIMEOUT,
            )
            .await?;
        let length = response.response.headers().get(header::CONTENT_LENGTH);
        let length: Option<u64> = length.and_then(|text| text.to_str().ok()?.parse().ok());
        let mut report = TransferProgress::new(progress, "exporting the image", length);
        let mut frames = BodyStream::new(response.response.into_body());
        loop {
            let frame = tokio::time::timeout(CHUNK_TIMEOUT, frames.next()).await;
            let Some(frame) = frame.map_err(|_| incomplete(client, "the transfer timed out"))?
            else {
                break;
            };
            let frame = frame.map_err(|error| incomplete(client, &error.to_string()))?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            let written = to.write_all(bytes).await;
            written.map_err(|error| Error::io("cannot write the image", error))?;
            report.add(bytes.len());
        }
        if length.is_some_and(|length| length != report.bytes) {
            return Err(incomplete(client, "the connection ended"));
        }
        to.flush()
            .await
            .map_err(|error| Error::io("cannot write the image", error))
    }

    async fn import_image(
        &self,
        mut from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        let client = &self.client;
        ensure_free_alias(client, alias).await?;
        let failed = |error: io::Error| Error::io("cannot read the image", error);
        let mut head = Vec::new();
        (&mut from)
            .take(MAX_BOUNDARY_BYTES as u64)
            .read_to_end(&mut head)
            .await
            .map_err(failed)?;
        let content_type = content_type(&head);
        let is_one_archive = content_type == ARCHIVE;
        let body = io::Cursor::new(head).chain(from);
        progress.step("uploading the image", None);
        // The engine's fingerprint of an archive is the hash of its bytes.
        let hash = Arc::new(Mutex::new(Sha256::new()));
        let hashed = hash.clone();
        let chunks = ReaderStream::with_capacity(body, CHUNK_BYTES);
        let frames = chunks.map_ok(move |chunk| {
            hashed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .update(&chunk);
            Frame::data(chunk)
        });
        let body = BodyExt::boxed(StreamBody::new(frames));
        let filename = format!("{}filename", header_prefix(client));
        let headers = [
            ("content-type", content_type.as_str()),
            (filename.as_str(), "image"),
        ];
        let response = client
            .stream("POST", "/1.0/images", &headers, body, DOWNLOAD_TIMEOUT)
            .await?;
        let text = response.response.into_body().collect().await;
        let text =
            text.map_err(|error| client.engine_error(ErrorKind::Engine, &error.to_string()))?;
        let envelope: Envelope = serde_json::from_slice(&text.to_bytes()).map_err(|error| {
            client
                .engine_error(ErrorKind::Engine, "invalid response")
                .caused_by(error)
        })?;
        let image = match client.wait(&envelope.operation, DOWNLOAD_TIMEOUT).await {
            Ok(operation) => fingerprint(client, operation.metadata)?,
            Err(error) => {
                let hash = hash.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let existing = Fingerprint::parse(&hex::encode(&hash.finalize()))?;
                let path = format!("/1.0/images/{existing}");
                match client.get::<serde_json::Value>(&path).await {
                    // Not a failure: the engine has this image already.
                    Ok(_) if is_one_archive => existing,
                    _ => return Err(error),
                }
            }
        };
        add_alias(client, alias, &image).await?;
        Ok(image)
    }
}
