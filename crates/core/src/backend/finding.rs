//! Results of diagnostics.

use serde::Serialize;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// No problem.
    Good,
    /// Envs work, with limits or an upcoming problem.
    Warning,
    /// Envs do not work.
    Bad,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The checked object: an engine, its pool, its network.
    pub subject: String,
    /// Its severity.
    pub level: Level,
    /// The result.
    pub message: String,
    /// A command to run or a change to make.
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
