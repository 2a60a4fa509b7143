//! Files of an instance, running or not: one request per file.

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

use super::client::url_part;
use super::client::{Body, Client, StreamedResponse, full_body};
use crate::backend::{Content, GuestFile, Ownership};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, InstanceName};

/// Limit until the response begins: a stopped instance is mounted first.
const TIMEOUT: Duration = Duration::from_secs(60);
const CHUNK_BYTES: usize = 1024 * 1024;

#[derive(Deserialize)]
struct Listing {
    metadata: Option<Vec<String>>,
}

fn url_path(name: &InstanceName, path: &str) -> String {
    format!("/1.0/instances/{name}/files?path={}", url_part(path))
}

/// The engine's prefix of headers that describe a file.
pub(super) fn header_prefix(client: &Client) -> &'static str {
    match client.kind() {
        EngineKind::Lxd => "x-lxd-",
        _ => "x-incus-",
    }
}

pub(super) async fn read(client: &Client, name: &InstanceName, path: &str) -> Result<GuestFile> {
    let answer = client
        .stream("GET", &url_path(name, path), &[], full_body(""), TIMEOUT)
        .await
        .map_err(|error| map_missing(error, name, path))?;
    let headers = answer.response.headers();
    let header = |field: &str| text(headers, &format!("{}{field}", header_prefix(client)));
    let number = |field: &str| {
        header(field)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    let mode = header("mode").and_then(|text| u32::from_str_radix(&text, 8).ok());
    let ownership = Ownership {
        uid: number("uid"),
        gid: number("gid"),
        mode: mode.unwrap_or(0o644) & 0o7777,
    };
    let content = match header("type").as_deref() {
        Some("directory") => {
            let listing: Listing = serde_json::from_slice(&collect(client, answer).await?)
                .map_err(|error| client.engine_error(ErrorKind::Engine, &error.to_string()))?;
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

async fn collect(client: &Client, response: StreamedResponse) -> Result<Vec<u8>> {
    let StreamedResponse {
        response: body,
        connection,
    } = response;
    let body = tokio::time::timeout(TIMEOUT, body.into_body().collect()).await;
    drop(connection);
    let body =
        body.map_err(|_| Error::new(ErrorKind::Timeout, "the transfer of a file timed out"))?;
    let body = body.map_err(|error| client.engine_error(ErrorKind::Engine, &error.to_string()))?;
    Ok(body.to_bytes().to_vec())
}

/// The bytes of a response; the reader holds the connection.
fn reader(response: StreamedResponse) -> impl tokio::io::AsyncRead + Send + Sync + Unpin {
    let StreamedResponse {
        response: body,
        connection,
    } = response;
    let pieces = BodyStream::new(body.into_body());
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
            let pieces = ReaderStream::with_capacity(bytes, CHUNK_BYTES).map_ok(Frame::data);
            ("file", BodyExt::boxed(StreamBody::new(pieces)))
        }
        Content::Directory(_) => ("directory", full_body("")),
        Content::Link(target) => ("symlink", full_body(target)),
    };
    let prefix = header_prefix(client);
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
    // The response follows the whole body, however large. The engine detects a stalled transfer.
    let timeout = super::client::DOWNLOAD_TIMEOUT;
    let response = client
        .stream("POST", &url_path(name, path), &headers, body, timeout)
        .await;
    response
        .map(drop)
        .map_err(|error| map_missing(error, name, path))
}

pub(super) async fn delete(client: &Client, name: &InstanceName, path: &str) -> Result<()> {
    let result = client
        .change("DELETE", &url_path(name, path), &json!({}))
        .await;
    result.map_err(|error| map_missing(error, name, path))
}

/// A missing file has several codes; some versions tell it by the message only.
fn map_missing(error: Error, name: &InstanceName, path: &str) -> Error {
    let message = error.report().message.to_lowercase();
    let is_missing = error.kind() == ErrorKind::NotFound
        || ["no such file", "does not exist", "not exist"]
            .iter()
            .any(|text| message.contains(text));
    if !is_missing {
        return error;
    }
    Error::new(
        ErrorKind::NotFound,
        format!("`{name}` has no file `{path}`"),
    )
    .caused_by(error)
}
