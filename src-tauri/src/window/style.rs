//! The desktop's light or dark style, which GTK 3 doesn't ask for itself.
//!
//! Tauri's `dbus` would; but tao then looks for a change every five seconds, in the tray too.

use std::time::Duration;

use futures_util::StreamExt;
use tauri::{AppHandle, Theme};
use tokio::sync::oneshot;
use zbus::zvariant::{OwnedValue, Value};
use zbus::{Connection, Proxy};

/// How long the window waits for the answer; a portal may have to be started first.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Which setting it is.
const SETTING: (&str, &str) = ("org.freedesktop.appearance", "color-scheme");

/// Begins to follow the desktop's style. Returns once the window has the style, so that it isn't
/// shown in another one before, or when there is none to be had.
pub(crate) async fn begin(app: &AppHandle) {
    let (known, waited) = oneshot::channel();
    let app = app.clone();
    tokio::spawn(async move {
        // No bus, or no portal on it.
        if let Err(error) = follow(&app, known).await {
            tracing::debug!(%error, "the desktop doesn't say which style it has");
        }
    });
    if tokio::time::timeout(TIMEOUT, waited).await.is_err() {
        tracing::debug!("the desktop takes long to say which style it has");
    }
}

async fn follow(app: &AppHandle, known: oneshot::Sender<()>) -> zbus::Result<()> {
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
    let now: OwnedValue = settings.call("Read", &SETTING).await?;
    if let Some(theme) = theme(&now) {
        app.set_theme(Some(theme));
    }
    drop(known);
    while let Some(change) = changes.next().await {
        let body = change.body();
        let (_, _, value): (&str, &str, Value<'_>) = body.deserialize()?;
        app.set_theme(theme(&value));
    }
    Ok(())
}

/// `Read` packs its value twice, the signal once.
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
    fn the_style_is_found_in_what_it_is_packed_in() {
        let packed = |number: u32| Value::Value(Box::new(Value::U32(number)));
        assert_eq!(theme(&Value::U32(1)), Some(Theme::Dark));
        assert_eq!(theme(&packed(2)), Some(Theme::Light));
        assert_eq!(theme(&packed(0)), None);
        assert_eq!(theme(&Value::new("dark")), None);
    }
}
