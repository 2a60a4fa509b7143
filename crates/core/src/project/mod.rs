//! Projects: a directory with a `containers.yaml`, and which of them are known.
//!
//! Invariants: a file that can't be read is never written; a write changes only the lines that it
//! must and is checked against what was meant before it replaces the file; the project lock is held
//! for the whole read-modify-write.
//! Deliberately absent: engines. What is written here says what should be, `engine` what is.

mod change;
mod disk;
mod edit;
mod guard;
mod host;
mod kept;
mod mounts;
mod ports;
#[cfg(test)]
mod properties;
mod registry;
mod schema;
mod setup;
mod snapshots;
mod store;

pub use change::{Change, NewEnv};
pub use kept::{KeptFile, restore_file};
pub use registry::{KnownProject, Registry};
pub use schema::{Entry, File, MountEntry, UserEntry};
pub use setup::Setup;
pub use snapshots::SnapshotEntry;
pub use store::{FILE_NAME, Project, create_file, find_directory};

/// A word as YAML text: quoted where it would read as a number, a date or something else.
fn plain_or_quoted(word: &str) -> String {
    match serde_yaml::from_str::<serde_yaml::Value>(word) {
        Ok(serde_yaml::Value::String(text)) if text == word => text,
        _ => format!("\"{word}\""),
    }
}

/// A time as the file has it: without fractions of a second.
#[must_use]
pub(crate) fn whole_seconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at)
}
