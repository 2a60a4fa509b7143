//! Files of an instance, running or not, one request a file.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::HeaderMap;
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::json;
use tokio_util::io::{ReaderStream, StreamReader};

use super::client::{Answer, Body, Client, whole};
use super::image::url_part;
use crate::backend::{Content, GuestFile, Ownership};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, InstanceName};

/// How long the engine may take to begin an answer. It mounts a stopped instance first.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes in one piece of a file on its way.
const PIECE: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Listing {
    metadata: Option<Vec<String>>,
}

fn path_of(name: &InstanceName, path: &str) -> String {
    format!("/1.0/instances/{name}/files?path={}", url_part(path))
}

/// The engines' own names of the headers that describe a file.
fn prefix(client: &Client) -> &'static str {
    match client.kind() {
        EngineKind::Lxd => "x-lxd-",
        _ => "x-incus-",
    }
}

pub(super) async fn read(client: &Client, name: &InstanceName, path: &str) -> Result<GuestFile> {
    let asked = client
        .stream("GET", &path_of(name, path), &[], whole(""), TIMEOUT)
        .await;
    let answer = asked.map_err(|error| missing(error, name, path))?;
    let headers = answer.response.headers();
    let header = |what: &str| text(headers, &format!("{}{what}", prefix(client)));
    let number = |what: &str| header(what).and_then(|text| text.parse().ok()).unwrap_or(0);
    let mode = header("mode").and_then(|text| u32::from_str_radix(&text, 8).ok());
    let ownership = Ownership {
        uid: number("uid"),
        gid: number("gid"),
        mode: mode.unwrap_or(0o644) & 0o7777,
    };
    let content = match header("type").as_deref() {
        Some("directory") => {
            let listing: Listing = serde_json::from_slice(&collect(client, answer).await?)
                .map_err(|error| client.failure(ErrorKind::Engine, &error.to_string()))?;
            Content::Directory(listing.metadata.unwrap_or_default())
        }
        Some("symlink") => {
            let target = collect(client, answer).await?;
            Content::Link(
                String::from_utf8_lossy(&target)
                    .trim_end_matches('\n')
                    .to_owned(),
            )
        }
        _ => Content::File(Box::new(reader(answer))),
    };
    Ok(GuestFile { ownership, content })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

async fn collect(client: &Client, answer: Answer) -> Result<Vec<u8>> {
    let Answer {
        response,
        connection,
    } = answer;
    let body = tokio::time::timeout(TIMEOUT, response.into_body().collect()).await;
    drop(connection);
    let body = body.map_err(|_| Error::new(ErrorKind::Timeout, "a file didn't come in time"))?;
    let body = body.map_err(|error| client.failure(ErrorKind::Engine, &error.to_string()))?;
    Ok(body.to_bytes().to_vec())
}

/// The bytes of an answer; the connection lives as long as the reader.
fn reader(answer: Answer) -> impl tokio::io::AsyncRead + Send + Sync + Unpin {
    let Answer {
        response,
        connection,
    } = answer;
    let pieces = BodyStream::new(response.into_body());
    let bytes = pieces
        .map(|piece| piece.map_err(io::Error::other))
        .try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
    let bytes = bytes.inspect(move |_| {
        let _held = &connection;
    });
    StreamReader::new(Box::pin(bytes))
}

pub(super) async fn write(
    client: &Client,
    name: &InstanceName,
    path: &str,
    file: GuestFile,
) -> Result<()> {
    let (kind, body): (&str, Body) = match file.content {
        Content::File(bytes) => {
            let pieces = ReaderStream::with_capacity(bytes, PIECE).map_ok(Frame::data);
            ("file", BodyExt::boxed(StreamBody::new(pieces)))
        }
        Content::Directory(_) => ("directory", whole("")),
        Content::Link(target) => ("symlink", whole(target)),
    };
    let prefix = prefix(client);
    let owned: BTreeMap<String, String> = BTreeMap::from([
        (format!("{prefix}type"), kind.to_owned()),
        (format!("{prefix}uid"), file.ownership.uid.to_string()),
        (format!("{prefix}gid"), file.ownership.gid.to_string()),
        (
            format!("{prefix}mode"),
            format!("{:04o}", file.ownership.mode),
        ),
        (format!("{prefix}write"), "overwrite".to_owned()),
    ]);
    let headers: Vec<(&str, &str)> = owned
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    // The answer comes when all is written, however much that is: pieces that don't move are the
    // engine's to notice.
    let timeout = super::client::DOWNLOAD_PATIENCE;
    let asked = client
        .stream("POST", &path_of(name, path), &headers, body, timeout)
        .await;
    asked.map(drop).map_err(|error| missing(error, name, path))
}

pub(super) async fn delete(client: &Client, name: &InstanceName, path: &str) -> Result<()> {
    let done = client
        .change("DELETE", &path_of(name, path), &json!({}))
        .await;
    done.map_err(|error| missing(error, name, path))
}

/// The engines say that a file is missing with words only, and some versions with another code.
fn missing(error: Error, name: &InstanceName, path: &str) -> Error {
    let words = error.report().message;
    let gone = error.kind() == ErrorKind::NotFound
        || ["no such file", "does not exist", "not exist"]
            .iter()
            .any(|w| words.to_lowercase().contains(w));
    if !gone {
        return error;
    }
    Error::new(ErrorKind::NotFound, format!("`{name}` has no {path}")).caused_by(error)
}
