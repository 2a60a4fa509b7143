//! Long operations: progress while they run, and cancelling them.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::client::{Client, DOWNLOAD_PATIENCE, ENDED};
use super::wire::Operation;
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// Class of the operations that end by themselves. An open shell is one of class `websocket`.
const TASK: &str = "task";

#[derive(Deserialize)]
struct Event {
    metadata: Value,
}

/// Asks for a change, reports its progress, and waits until it is done. Returns the ended operation.
///
/// When cancelled, the engine's operation is cancelled where it may be; else we wait for its end,
/// so that the caller knows what there is to roll back.
pub(super) async fn change(
    client: &Client,
    path: &str,
    body: &Value,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Operation> {
    // Before the request: what happens between the two would be missed otherwise.
    let mut events = client.websocket("/1.0/events?type=operation").await?;
    let envelope = client.send("POST", path, body).await?;
    let begun: Operation = serde_json::from_value(envelope.metadata).map_err(|error| {
        Error::new(ErrorKind::Engine, "the engine's operation can't be read").caused_by(error)
    })?;
    let done = client.wait(&envelope.operation, DOWNLOAD_PATIENCE);
    tokio::pin!(done);
    let mut listening = true;
    let mut cancelled = false;
    let result = loop {
        tokio::select! {
            result = &mut done => break result,
            event = events.next(), if listening => match event {
                Some(Ok(Message::Text(text))) => report(&text, &begun.id, progress),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => listening = false,
            },
            () = cancel.cancelled(), if !cancelled => {
                cancelled = true;
                if begun.may_cancel {
                    // Refused means that it ends by itself; `done` tells.
                    let _ = client.send("DELETE", &envelope.operation, &json!({})).await;
                }
            }
        }
    };
    if cancelled {
        return Err(Error::new(ErrorKind::Cancelled, "stopped by the user"));
    }
    result
}

/// Waits for the engine's running operations on an instance, however they end.
pub(super) async fn settle(client: &Client, name: &InstanceName) -> Result<()> {
    // Grouped by state, as `running`; a state without operations is missing.
    let by_state: BTreeMap<String, Vec<Operation>> =
        client.get("/1.0/operations?recursion=1").await?;
    let on_it = format!("/1.0/instances/{name}");
    for operation in by_state
        .into_values()
        .flatten()
        .filter(|found| found.status_code < ENDED && found.class == TASK)
    {
        let resources = operation.resources.unwrap_or_default();
        let instances = resources.get("instances").into_iter().flatten();
        if instances
            .into_iter()
            .any(|path| path.split('?').next() == Some(&on_it))
        {
            // One that failed or is forgotten already has ended too.
            let _ = client
                .wait(
                    &format!("/1.0/operations/{}", operation.id),
                    DOWNLOAD_PATIENCE,
                )
                .await;
        }
    }
    Ok(())
}

/// Progress stands in the operation's metadata under a key that ends with `_progress`, as
/// `rootfs: 42% (8.11MB/s)`.
fn report(text: &str, id: &str, progress: &Progress) {
    let Ok(event) = serde_json::from_str::<Event>(text) else {
        return;
    };
    if event.metadata.get("id").and_then(Value::as_str) != Some(id) {
        return;
    }
    let Some(details) = event.metadata.get("metadata").and_then(Value::as_object) else {
        return;
    };
    for (key, value) in details {
        let Some(what) = key.strip_suffix("_progress") else {
            continue;
        };
        let Some(line) = value.as_str() else { continue };
        let words = match what {
            what if what.contains("download") => "downloading the image",
            what if what.contains("pack") && !what.contains("unpack") => "packing the image",
            _ => "unpacking",
        };
        progress.step(words, percent(line));
    }
}

fn percent(line: &str) -> Option<u8> {
    let (before, _) = line.split_once('%')?;
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_read_from_the_engines_words() {
        assert_eq!(percent("rootfs: 42% (8.11MB/s)"), Some(42));
        assert_eq!(percent("Unpack: 100% (1GB/s)"), Some(100));
        assert_eq!(percent("1.2GB (3MB/s)"), None);
    }
}
