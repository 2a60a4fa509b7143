//! The result of recovering an operation.

use std::fmt;

/// The result of recovering an operation; formatted for notices.
pub(super) enum Recovered {
    Completed,
    CompletedUndoable,
    RolledBack,
    /// Nothing to do, for this reason.
    Dropped(&'static str),
}

impl Recovered {
    pub(super) const NOTHING_CHANGED: Self = Self::Dropped("nothing had changed");
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::CompletedUndoable => f.write_str("completed (can be undone)"),
            Self::RolledBack => f.write_str("rolled back"),
            Self::Dropped(reason) => write!(f, "dropped: {reason}"),
        }
    }
}
