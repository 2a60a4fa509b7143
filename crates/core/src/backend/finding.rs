//! What a look at an engine or at this machine has found.

use serde::Serialize;

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Envs work, but something about them doesn't, or soon won't.
    Warning,
    /// Envs don't work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: an engine, its pool, its network.
    pub subject: String,
    /// How good it is.
    pub level: Level,
    /// What was found.
    pub message: String,
    /// What to run, or to change.
    pub hint: Option<String>,
}

impl Finding {
    /// Something that was found.
    pub fn new(subject: impl Into<String>, level: Level, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            level,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
