//! Long operations: progress and cancellation.

use std::collections::BTreeMap;

use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::client::{Client, DOWNLOAD_TIMEOUT, FIRST_FINAL_STATUS};
use super::wire::Operation;
use crate::backend::Progress;
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// Class of operations that end by themselves; an open shell has class `websocket`.
const TASK: &str = "task";

#[derive(Deserialize)]
struct Event {
    metadata: Value,
}

/// Makes a change, reports its progress and returns the ended operation.
///
/// On cancellation, cancels the engine's operation if possible and waits for its end, so that the
/// caller knows what to roll back.
pub(super) async fn change(
    client: &Client,
    path: &str,
    body: &Value,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Operation> {
    // Subscribe before the request, so that no event is missed.
    let mut events = client.websocket("/1.0/events?type=operation").await?;
    let envelope = client.send("POST", path, body).await?;
    let operation: Operation = serde_json::from_value(envelope.metadata).map_err(|error| {
        Error::new(ErrorKind::Engine, "invalid operation from the engine").caused_by(error)
    })?;
    let end = client.wait(&envelope.operation, DOWNLOAD_TIMEOUT);
    tokio::pin!(end);
    let mut has_events = true;
    let mut cancelled = false;
    let result = loop {
        tokio::select! {
            result = &mut end => break result,
            event = events.next(), if has_events => match event {
                Some(Ok(Message::Text(text))) => report(&text, &operation.id, progress),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => has_events = false,
            },
            () = cancel.cancelled(), if !cancelled => {
                cancelled = true;
                if operation.may_cancel {
                    // If refused, the operation ends by itself.
                    let _ = client.send("DELETE", &envelope.operation, &json!({})).await;
                }
            }
        }
    };
    match result {
        // Its end is unknown, so there may be something to roll back.
        Err(error) if error.is_uncertain() => Err(error),
        _ if cancelled => Err(Error::cancelled()),
        result => result,
    }
}

/// Waits until the engine's running operations on an instance end.
pub(super) async fn settle(client: &Client, name: &InstanceName) -> Result<()> {
    // Keys are states such as `running`; states without operations are missing, or `null` in a cluster.
    let by_state: BTreeMap<String, Option<Vec<Operation>>> =
        client.get("/1.0/operations?recursion=1").await?;
    let instance_path = format!("/1.0/instances/{name}");
    for operation in by_state
        .into_values()
        .flatten()
        .flatten()
        .filter(|found| found.status_code < FIRST_FINAL_STATUS && found.class == TASK)
    {
        let resources = operation.resources.unwrap_or_default();
        let instances = resources.get("instances").into_iter().flatten().flatten();
        if instances
            .into_iter()
            .any(|path| path.split('?').next() == Some(&instance_path))
        {
            // A failed or unknown operation has ended too.
            let _ = client
                .wait(
                    &format!("/1.0/operations/{}", operation.id),
                    DOWNLOAD_TIMEOUT,
                )
                .await;
        }
    }
    Ok(())
}

/// Reports progress: metadata keys that end with `_progress`, such as `rootfs: 42% (8.11MB/s)`.
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
        let Some(phase) = key.strip_suffix("_progress") else {
            continue;
        };
        let Some(line) = value.as_str() else { continue };
        let label = match phase {
            _ if phase.contains("download") => "downloading the image",
            _ if phase.contains("pack") && !phase.contains("unpack") => "packing the image",
            _ => "unpacking",
        };
        progress.step(label, percent(line));
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
    fn parses_percentages() {
        assert_eq!(percent("rootfs: 42% (8.11MB/s)"), Some(42));
        assert_eq!(percent("Unpack: 100% (1GB/s)"), Some(100));
        assert_eq!(percent("1.2GB (3MB/s)"), None);
    }
}
