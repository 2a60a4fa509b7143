//! Desktop notifications for failures and restores. The view always shows the same information.

use lxc_dev_manager_core::Error;
use lxc_dev_manager_core::escape::visible;
use lxc_dev_manager_core::view::{EnvRef, OperationKind, Outcome};
use notify_rust::Notification;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

const APP_NAME: &str = "LXC Dev Manager";

/// Shows notifications for outcomes until shutdown.
pub(crate) async fn follow(
    mut outcomes: broadcast::Receiver<Outcome>,
    shutdown: CancellationToken,
) {
    loop {
        let outcome = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = outcomes.recv() => outcome,
        };
        match outcome {
            Ok(outcome) => show(&outcome).await,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Notifies about an operation that could not start.
pub(crate) async fn refused(env: &EnvRef, error: &Error) {
    notify(&env.env.to_string(), &error.report().message).await;
}

async fn show(outcome: &Outcome) {
    if let Some((title, body)) = text(outcome) {
        notify(&title, &body).await;
    }
}

async fn notify(title: &str, body: &str) {
    let body = body_text(body);
    let mut notification = Notification::new();
    notification
        .appname(APP_NAME)
        .summary(&visible(title))
        .body(&body);
    if let Err(error) = show_notification(notification).await {
        tracing::info!(%error, "cannot show notification");
    }
}

/// A body without markup, which Linux desktops would follow (Desktop Notifications Specification). Messages may have
/// words of a guest.
fn body_text(text: &str) -> String {
    let text = visible(text);
    if cfg!(target_os = "linux") {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    } else {
        text.into_owned()
    }
}

#[cfg(target_os = "linux")]
async fn show_notification(notification: Notification) -> notify_rust::error::Result<()> {
    notification.show_async().await.map(drop)
}

#[cfg(not(target_os = "linux"))]
async fn show_notification(notification: Notification) -> notify_rust::error::Result<()> {
    notification.show().map(drop)
}

/// Returns title and body, or `None` without a notification.
fn text(outcome: &Outcome) -> Option<(String, String)> {
    let env = &outcome.env.env;
    match (&outcome.error, outcome.kind) {
        (Some(error), kind) => Some((
            format!("{env}: cannot {}", kind.labels().imperative),
            error.message.clone(),
        )),
        (None, OperationKind::Restore) => {
            let undo = if outcome.undoable {
                "It can be undone for three days."
            } else {
                ""
            };
            Some((outcome.summary.clone(), undo.to_owned()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lxc_dev_manager_core::ErrorKind;
    use lxc_dev_manager_core::model::OperationId;

    use super::*;

    fn outcome(kind: OperationKind, error: Option<Error>) -> Outcome {
        Outcome {
            id: OperationId::random(),
            env: EnvRef {
                project_path: "/p".into(),
                env: "dev".parse().unwrap(),
            },
            kind,
            snapshot: Some("before".parse().unwrap()),
            undoable: error.is_none(),
            summary: kind.summary(&"dev".parse().unwrap(), Some(&"before".parse().unwrap())),
            error: error.map(|error| error.report()),
        }
    }

    #[test]
    fn markup_and_escape_sequences_are_text() {
        let body = body_text("<a href=\"x\">&</a>\u{1b}[31m");
        assert!(!body.contains('\u{1b}'), "{body:?}");
        if cfg!(target_os = "linux") {
            assert!(
                body.starts_with("&lt;a href=\"x\"&gt;&amp;&lt;/a&gt;"),
                "{body}"
            );
        }
    }

    #[test]
    fn notifies_about_failures_and_restores_only() {
        let (title, body) = text(&outcome(OperationKind::Restore, None)).unwrap();
        assert_eq!(title, "Restored dev to before");
        assert!(body.contains("undone"));
        let error = Error::new(ErrorKind::Engine, "no space left");
        let (title, body) = text(&outcome(OperationKind::Start, Some(error))).unwrap();
        assert_eq!(
            (title.as_str(), body.as_str()),
            ("dev: cannot start", "no space left")
        );
        assert_eq!(text(&outcome(OperationKind::Start, None)), None);
    }
}
