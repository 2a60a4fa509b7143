//! The engine's event websocket, and waiting for an engine's return.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use notify::{RecursiveMode, Watcher};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::client::Client;
use crate::backend::BackendEvent;
use crate::error::Result;
use crate::model::InstanceName;

/// Longest wait for a socket without a file event.
pub(super) const RETURN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Event {
    metadata: Lifecycle,
}

#[derive(Deserialize)]
struct Lifecycle {
    action: String,
    source: String,
    #[serde(default)]
    context: Option<Context>,
}

#[derive(Deserialize, Default)]
struct Context {
    old_name: Option<String>,
}

pub(super) async fn subscribe(client: &Client) -> Result<BoxStream<'static, BackendEvent>> {
    let socket = client.websocket("/1.0/events?type=lifecycle").await?;
    let events = socket
        .take_while(|message| std::future::ready(message.is_ok()))
        .filter_map(|message| async move {
            match message {
                Ok(Message::Text(text)) => parse(&text),
                _ => None,
            }
        });
    Ok(Box::pin(events))
}

fn parse(text: &str) -> Option<BackendEvent> {
    let event: Event = serde_json::from_str(text).ok()?;
    let Lifecycle {
        action,
        source,
        context,
    } = event.metadata;
    if !action.starts_with("instance-") {
        return None;
    }
    // `/1.0/instances/NAME`, `/1.0/instances/NAME/snapshots/S`, either with `?project=`.
    let name = source.strip_prefix("/1.0/instances/")?;
    let name = InstanceName::parse(name.split(['/', '?']).next()?).ok()?;
    match action.as_str() {
        "instance-started" | "instance-restarted" | "instance-resumed" => {
            Some(BackendEvent::Started(name))
        }
        "instance-renamed" => {
            match context
                .unwrap_or_default()
                .old_name
                .map(|old| InstanceName::parse(&old))
            {
                Some(Ok(old)) => Some(BackendEvent::Renamed { old, new: name }),
                _ => Some(BackendEvent::Changed(name)),
            }
        }
        // Commands and file transfers do not change the instance's state.
        "instance-exec"
        | "instance-console"
        | "instance-file-pushed"
        | "instance-file-retrieved"
        | "instance-file-deleted"
        | "instance-log-retrieved" => None,
        _ => Some(BackendEvent::Changed(name)),
    }
}

/// Waits for a change in the socket's directory, or for the timeout.
pub(super) async fn wait_for_socket(socket: &Path) {
    let (sender, mut changed) = mpsc::channel(1);
    let watcher = notify::recommended_watcher(move |_| {
        let _ = sender.try_send(());
    });
    let Some(directory) = socket.ancestors().skip(1).find(|parent| parent.is_dir()) else {
        return tokio::time::sleep(RETURN_TIMEOUT).await;
    };
    let watcher = watcher.and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(_watcher) => {
            let _ = tokio::time::timeout(RETURN_TIMEOUT, changed.recv()).await;
        }
        Err(_) => tokio::time::sleep(RETURN_TIMEOUT).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, source: &str) -> Option<BackendEvent> {
        parse(&format!(
            r#"{{"type":"lifecycle","metadata":{{"action":"{action}","source":"{source}"}}}}"#
        ))
    }

    #[test]
    fn parses_the_instance_of_lifecycle_events() {
        let name = InstanceName::parse("web-dev").unwrap();
        assert_eq!(
            event("instance-started", "/1.0/instances/web-dev"),
            Some(BackendEvent::Started(name.clone()))
        );
        assert_eq!(
            event(
                "instance-snapshot-created",
                "/1.0/instances/web-dev/snapshots/s?project=x"
            ),
            Some(BackendEvent::Changed(name))
        );
        assert_eq!(event("image-created", "/1.0/images/abc"), None);
        assert_eq!(event("instance-exec", "/1.0/instances/web-dev"), None);
    }
}
