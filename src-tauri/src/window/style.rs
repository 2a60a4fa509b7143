//! Follows the desktop's light or dark style, which GTK 3 does not support.
//!
//! Tauri's `dbus` feature would, but tao then polls every five seconds.

use std::time::Duration;

use futures_util::StreamExt;
use tauri::{AppHandle, Theme};
use tokio::sync::oneshot;
use zbus::zvariant::{OwnedValue, Value};
use zbus::{Connection, Proxy};

/// Time for the portal to respond; it may have to start first.
const TIMEOUT: Duration = Duration::from_millis(500);
const SETTING: (&str, &str) = ("org.freedesktop.appearance", "color-scheme");

/// Starts following the desktop's style. Returns when the style is set, or not available.
pub(crate) async fn follow_system(app: &AppHandle) {
    let (ready, receiver) = oneshot::channel();
    let app = app.clone();
    tokio::spawn(async move {
        // No session bus or no portal.
        if let Err(error) = follow(&app, ready).await {
            tracing::debug!(%error, "cannot read the desktop style");
        }
    });
    if tokio::time::timeout(TIMEOUT, receiver).await.is_err() {
        tracing::debug!("timeout reading the desktop style");
    }
}

async fn follow(app: &AppHandle, ready: oneshot::Sender<()>) -> zbus::Result<()> {
    let bus = Connection::session().await?;
    let settings = Proxy::new(
        &bus,
        "org.freedesktop.portal.Desktop",
        "/org/freedesktop/portal/desktop",
        "org.freedesktop.portal.Settings",
    )
    .await?;
    let only = [(0, SETTING.0), (1, SETTING.1)];
    let mut changes = settings
        .receive_signal_with_args("SettingChanged", &only)
        .await?;
    let current: OwnedValue = settings.call("Read", &SETTING).await?;
    if let Some(theme) = theme(&current) {
        app.set_theme(Some(theme));
    }
    drop(ready);
    while let Some(change) = changes.next().await {
        let body = change.body();
        let (_, _, value): (&str, &str, Value<'_>) = body.deserialize()?;
        app.set_theme(theme(&value));
    }
    Ok(())
}

/// `Read` wraps its value twice, the signal once.
fn theme(value: &Value<'_>) -> Option<Theme> {
    match value {
        Value::Value(inner) => theme(inner),
        Value::U32(1) => Some(Theme::Dark),
        Value::U32(2) => Some(Theme::Light),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_style_from_nested_values() {
        let nested = |number: u32| Value::Value(Box::new(Value::U32(number)));
        assert_eq!(theme(&Value::U32(1)), Some(Theme::Dark));
        assert_eq!(theme(&nested(2)), Some(Theme::Light));
        assert_eq!(theme(&nested(0)), None);
        assert_eq!(theme(&Value::new("dark")), None);
    }
}
