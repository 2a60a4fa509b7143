//! The library's error type.
//!
//! The message has the failed action and its object; the cause is the source; the hint is the next
//! command to run.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of a failure. Part of the contract: callers and the UI match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum ErrorKind {
    /// A name, port or size is invalid.
    InvalidName,
    /// `containers.yaml` or another of our files is invalid.
    Config,
    /// The object (env, snapshot, image, project) does not exist.
    NotFound,
    /// An object of that name already exists.
    AlreadyExists,
    /// The object belongs to another project or checkout.
    NotOurs,
    /// The object is in the wrong state, or another operation uses it.
    Conflict,
    /// The action needs a confirmation.
    NeedsConfirmation,
    /// The project's file reaches the host without the user's consent.
    Untrusted,
    /// The engine is not reachable.
    Unreachable,
    /// This user may not use the engine.
    PermissionDenied,
    /// The engine does not support this.
    Unsupported,
    /// The engine failed.
    Engine,
    /// Something in the env failed.
    Guest,
    /// There was no response in time.
    Timeout,
    /// The user cancelled the operation.
    Cancelled,
    /// A local file or socket failed.
    Io,
    /// A defect of this program.
    Internal,
}

/// A failure, with a hint on what to do next.
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error without a cause.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    /// Adds the next command to run or change to make.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The error of a cancelled operation.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled by the user")
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Wraps this error in the use case's message; keeps kind and hint.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Self {
            kind: self.kind,
            message: message.into(),
            hint: self.hint.clone(),
            source: Some(Box::new(self)),
        }
    }

    /// A local file or socket failed.
    #[must_use]
    pub fn io(message: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, message).caused_by(source)
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the operation may have succeeded: only its response is missing.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        matches!(self.kind, ErrorKind::Unreachable | ErrorKind::Timeout)
    }

    /// The next command to run, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The causes, outermost first, without this error's own message.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// The form for IPC and `--json`: causes are joined to the message.
    #[must_use]
    pub fn report(&self) -> ErrorReport {
        let mut message = self.message.clone();
        for cause in self.causes() {
            if !message.contains(&cause) {
                message.push_str(": ");
                message.push_str(&cause);
            }
        }
        ErrorReport {
            kind: self.kind,
            message,
            hint: self.hint().map(str::to_owned),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.report().message)
    }
}

/// An error for IPC and `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ErrorReport {
    /// What kind of failure it was.
    pub kind: ErrorKind,
    /// The failed action, its object and the causes.
    pub message: String,
    /// The next command to run.
    pub hint: Option<String>,
}

impl From<ErrorReport> for Error {
    fn from(report: ErrorReport) -> Self {
        Self {
            kind: report.kind,
            message: report.message,
            hint: report.hint.map(Cow::Owned),
            source: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_hint_and_cause() {
        let error = Error::new(ErrorKind::Unreachable, "LXD is not reachable at /run/x")
            .with_hint("start it: `sudo systemctl start lxd`")
            .context("cannot restore `dev` to `before`");
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        assert_eq!(error.to_string(), "cannot restore `dev` to `before`");
        assert_eq!(error.causes(), ["LXD is not reachable at /run/x"]);
        assert_eq!(error.hint(), Some("start it: `sudo systemctl start lxd`"));
        assert_eq!(
            error.report().message,
            "cannot restore `dev` to `before`: LXD is not reachable at /run/x"
        );
    }
}
