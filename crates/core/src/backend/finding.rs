//! Results of diagnostics.

use serde::Serialize;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Good,
    /// Envs work, with restrictions or an upcoming problem.
    Warning,
    /// Envs do not work.
    Bad,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked: an engine, its pool, its network.
    pub subject: String,
    pub level: Level,
    pub message: String,
    /// A command or a change that helps.
    pub hint: Option<String>,
}

impl Finding {
    /// A finding without a hint.
    pub fn new(subject: impl Into<String>, level: Level, message: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            level,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
