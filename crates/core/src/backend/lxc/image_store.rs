//! The images that an engine keeps: listing, publishing, deleting, renaming, and moving as files.

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

use super::client::{Client, DOWNLOAD_PATIENCE};
use super::image::url_part;
use super::operation;
use super::wire::Envelope;
use crate::backend::{Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, Fingerprint, ImageName, InstanceName, SnapshotName};

/// Bytes in one piece of an image on its way.
const PIECE: usize = 64 * 1024;
/// How long nothing may come of an image on its way.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// A split image (metadata and root filesystem apart) travels as `multipart/form-data`, which begins
/// with these bytes and its boundary. No archive does.
const MULTIPART: &[u8] = b"--";
/// Content type of an image that is one archive.
const ARCHIVE: &str = "application/octet-stream";
/// The longest boundary that is looked for; RFC 2046 allows 70 characters.
const BOUNDARY: usize = 200;

#[derive(Deserialize)]
struct Raw {
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
struct Alias {
    name: String,
}

impl From<Raw> for StoredImage {
    fn from(raw: Raw) -> Self {
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
            // The epoch stands for "not known".
            created_at: raw.created_at.filter(|at| at.as_second() > 0),
            cached: raw.cached,
        }
    }
}

pub(super) async fn list(client: &Client) -> Result<Vec<StoredImage>> {
    let found: Vec<Raw> = client.get("/1.0/images?recursion=1").await?;
    Ok(found.into_iter().map(StoredImage::from).collect())
}

/// The image of an alias, if there is one.
async fn target_of(client: &Client, alias: &ImageName) -> Result<Option<Fingerprint>> {
    let path = format!("/1.0/images/aliases/{}", url_part(alias.as_str()));
    match client.get::<serde_json::Value>(&path).await {
        Ok(found) => found["target"].as_str().map(Fingerprint::parse).transpose(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn expect_free(client: &Client, alias: &ImageName) -> Result<()> {
    match target_of(client, alias).await? {
        None => Ok(()),
        Some(_) => Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("{} has an image `{alias}` already", client.kind()),
        )
        .with_hint(format!(
            "choose another name, or delete that one: `lxc-dev-manager image delete {alias}`"
        ))),
    }
}

async fn add_alias(client: &Client, alias: &ImageName, image: &Fingerprint) -> Result<()> {
    let body = json!({ "name": alias, "target": image });
    client.change("POST", "/1.0/images/aliases", &body).await
}

pub(super) async fn publish(
    client: &Client,
    name: &InstanceName,
    snapshot: &SnapshotName,
    alias: &ImageName,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Fingerprint> {
    // Long after the caller looked: on some pools a snapshot takes minutes.
    expect_free(client, alias).await?;
    let body = json!({
        "source": { "type": "snapshot", "name": format!("{name}/{snapshot}") },
        "properties": { "description": alias },
        // With the image itself, so that none is without a name.
        "aliases": [{ "name": alias, "description": "" }],
    });
    match operation::change(client, "/1.0/images", &body, progress, cancel).await {
        Ok(done) => fingerprint(client, done.metadata),
        Err(error) if error.kind() == ErrorKind::Cancelled => {
            // It may have been whole already.
            if let Some(image) = target_of(client, alias).await? {
                delete(client, &image).await?;
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

fn fingerprint(client: &Client, metadata: Option<serde_json::Value>) -> Result<Fingerprint> {
    let text = metadata
        .as_ref()
        .and_then(|metadata| metadata["fingerprint"].as_str());
    let text = text.ok_or_else(|| {
        client.failure(ErrorKind::Engine, "it made an image and didn't say which")
    })?;
    Fingerprint::parse(text)
}

pub(super) async fn delete(client: &Client, image: &Fingerprint) -> Result<()> {
    let path = format!("/1.0/images/{image}");
    client.change("DELETE", &path, &json!({})).await
}

pub(super) async fn rename(client: &Client, alias: &ImageName, new: &ImageName) -> Result<()> {
    expect_free(client, new).await?;
    let path = format!("/1.0/images/aliases/{}", url_part(alias.as_str()));
    client.change("POST", &path, &json!({ "name": new })).await
}

/// What the engine sends is written as it is: one archive, or the two of a split image as
/// `multipart/form-data`.
pub(super) async fn export(
    client: &Client,
    image: &Fingerprint,
    to: &mut (dyn AsyncWrite + Send + Unpin),
    progress: &Progress,
) -> Result<()> {
    let path = format!("/1.0/images/{image}/export");
    let answer = client
        .stream(
            "GET",
            &path,
            &[],
            super::client::whole(""),
            DOWNLOAD_PATIENCE,
        )
        .await?;
    let length = answer.response.headers().get(header::CONTENT_LENGTH);
    let length: Option<u64> = length.and_then(|text| text.to_str().ok()?.parse().ok());
    let mut report = Report::new(progress, "writing the image", length);
    let mut pieces = BodyStream::new(answer.response.into_body());
    loop {
        let piece = tokio::time::timeout(CHUNK_TIMEOUT, pieces.next()).await;
        let Some(piece) = piece.map_err(|_| cut_short(client, "nothing more came"))? else {
            break;
        };
        let piece = piece.map_err(|error| cut_short(client, &error.to_string()))?;
        let Some(bytes) = piece.data_ref() else {
            continue;
        };
        let written = to.write_all(bytes).await;
        written.map_err(|error| Error::io("cannot write the image", error))?;
        report.add(bytes.len());
    }
    if length.is_some_and(|length| length != report.done) {
        return Err(cut_short(client, "the connection ended"));
    }
    to.flush()
        .await
        .map_err(|error| Error::io("cannot write the image", error))
}

fn cut_short(client: &Client, why: &str) -> Error {
    client.failure(
        ErrorKind::Engine,
        &format!("the image is incomplete: {why}"),
    )
}

pub(super) async fn import(
    client: &Client,
    mut from: Box<dyn AsyncRead + Send + Sync + Unpin>,
    alias: &ImageName,
    progress: &Progress,
) -> Result<Fingerprint> {
    expect_free(client, alias).await?;
    let failed = |error: io::Error| Error::io("cannot read the image", error);
    let mut head = Vec::new();
    (&mut from)
        .take(BOUNDARY as u64)
        .read_to_end(&mut head)
        .await
        .map_err(failed)?;
    let content_type = content_type(&head);
    let is_one_archive = content_type == ARCHIVE;
    let body = io::Cursor::new(head).chain(from);
    progress.step("handing the image over", None);
    // The engine's own fingerprint of one archive is the hash of its bytes.
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let hashed = hash.clone();
    let pieces = ReaderStream::with_capacity(body, PIECE);
    let frames = pieces.map_ok(move |piece| {
        hashed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(&piece);
        Frame::data(piece)
    });
    let body = BodyExt::boxed(StreamBody::new(frames));
    let filename = match client.kind() {
        EngineKind::Lxd => "x-lxd-filename",
        _ => "x-incus-filename",
    };
    let headers = [("content-type", content_type.as_str()), (filename, "image")];
    let answer = client
        .stream("POST", "/1.0/images", &headers, body, DOWNLOAD_PATIENCE)
        .await?;
    let text = answer.response.into_body().collect().await;
    let text = text.map_err(|error| client.failure(ErrorKind::Engine, &error.to_string()))?;
    let begun: Envelope = serde_json::from_slice(&text.to_bytes()).map_err(|error| {
        client
            .failure(ErrorKind::Engine, "its answer can't be read")
            .caused_by(error)
    })?;
    let image = match client.wait(&begun.operation, DOWNLOAD_PATIENCE).await {
        Ok(done) => fingerprint(client, done.metadata)?,
        Err(error) => {
            let hash = hash.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let known = Fingerprint::parse(&hex(&hash.finalize()))?;
            let path = format!("/1.0/images/{known}");
            match client.get::<serde_json::Value>(&path).await {
                // The one failure that is none: the engine has this image already.
                Ok(_) if is_one_archive => known,
                _ => return Err(error),
            }
        }
    };
    add_alias(client, alias, &image).await?;
    Ok(image)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn content_type(head: &[u8]) -> String {
    let boundary = head.strip_prefix(MULTIPART).and_then(|rest| {
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

/// Counts bytes and says how far they are, a percent at a time.
struct Report<'a> {
    progress: &'a Progress,
    words: &'static str,
    whole: Option<u64>,
    done: u64,
    said: Option<u8>,
}

impl<'a> Report<'a> {
    fn new(progress: &'a Progress, words: &'static str, whole: Option<u64>) -> Self {
        Self {
            progress,
            words,
            whole,
            done: 0,
            said: None,
        }
    }

    fn add(&mut self, bytes: usize) {
        self.done += bytes as u64;
        let whole = self.whole.filter(|whole| *whole > 0);
        let percent = whole.and_then(|whole| u8::try_from(self.done * 100 / whole).ok());
        if self.done == 0 || percent != self.said {
            self.progress.step(self.words, percent);
            self.said = percent;
        }
    }
}
