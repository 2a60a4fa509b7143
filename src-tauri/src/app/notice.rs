//! Notifications of the desktop: what failed, and what was restored. Never the only place.

use lxc_dev_manager_core::Error;
use lxc_dev_manager_core::view::{EnvRef, OperationKind, Outcome, ViewPatch};
use lxc_dev_manager_core::watch::Watch;
use notify_rust::Notification;
use tokio_util::sync::CancellationToken;

const APP_NAME: &str = "LXC Dev Manager";

/// Follows the view until the app ends.
pub(crate) async fn follow(watch: Watch, shutdown: CancellationToken) {
    while let Some(mut events) = watch.subscribe().await {
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.recv() => event,
            };
            match event {
                Some(event) => {
                    if let ViewPatch::Finished { outcome } = event.patch {
                        show(&outcome).await;
                    }
                }
                None => break,
            }
        }
    }
}

/// Tells of something that could not even begin.
pub(crate) async fn refused(env: &EnvRef, error: &Error) {
    tell(&env.env.to_string(), &error.report().message).await;
}

async fn show(outcome: &Outcome) {
    if let Some((title, body)) = text(outcome) {
        tell(&title, &body).await;
    }
}

async fn tell(title: &str, body: &str) {
    let mut notification = Notification::new();
    notification.appname(APP_NAME).summary(title).body(body);
    if let Err(error) = shown(notification).await {
        tracing::info!(%error, "no notification");
    }
}

#[cfg(target_os = "linux")]
async fn shown(notification: Notification) -> notify_rust::error::Result<()> {
    notification.show_async().await.map(drop)
}

#[cfg(not(target_os = "linux"))]
async fn shown(notification: Notification) -> notify_rust::error::Result<()> {
    notification.show().map(drop)
}

/// Title and text; `None` for what needs no notice.
fn text(outcome: &Outcome) -> Option<(String, String)> {
    let env = &outcome.env.env;
    match (&outcome.error, outcome.kind, &outcome.snapshot) {
        (Some(error), kind, _) => Some((
            format!("{env}: cannot {}", kind.word()),
            error.message.clone(),
        )),
        (None, OperationKind::Restore, Some(snapshot)) => {
            let undo = if outcome.undoable {
                "It can be undone for three days."
            } else {
                ""
            };
            Some((format!("Restored {env} to {snapshot}"), undo.to_owned()))
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
            error: error.map(|error| error.report()),
        }
    }

    #[test]
    fn failures_and_restores_are_told_and_nothing_else() {
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
