//! Projects: directories with a `containers.yaml`, and the registry of known ones.
//!
//! Invariants: an invalid file is never written; a write changes only the lines that it must, and
//! is checked against the intended content first; the project lock is held for the whole
//! read-modify-write.
//! Deliberately absent: engines. The file is the wanted state; `operations` knows the actual one.

mod change;
mod disk;
mod edit;
mod file_backup;
mod guard;
mod host;
mod mounts;
mod ports;
#[cfg(test)]
mod properties;
mod protect;
mod registry;
mod schema;
mod setup;
mod snapshots;
mod store;
mod trust;

pub use change::{Change, NewEnv};
pub use file_backup::{FileBackup, restore_file};
pub(crate) use mounts::{ensure_unmoved, ensure_usable_for_root};
pub(crate) use protect::protect;
pub use registry::{KnownProject, Registry};
pub use schema::{Entry, File, MountEntry, UserEntry, json_schema};
pub use setup::Setup;
pub use snapshots::SnapshotEntry;
pub use store::{FILE_NAME, Project, create_file, find_directory};
pub(crate) use trust::not_trusted;
pub use trust::{HostPart, Trust};

/// A string as YAML: quoted where it would parse as a number, a date or similar.
fn plain_or_quoted(word: &str) -> String {
    match serde_yaml::from_str::<serde_yaml::Value>(word) {
        Ok(serde_yaml::Value::String(text)) if text == word => text,
        _ => format!("\"{word}\""),
    }
}

/// A time in the file's precision: whole seconds.
#[must_use]
pub(crate) fn whole_seconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_second(at.as_second()).unwrap_or(at)
}
