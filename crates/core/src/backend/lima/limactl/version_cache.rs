//! Cached version of limactl, which saves a call of it per command.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::json;
use crate::home::write_json;

/// Relative to `LIMA_HOME`.
const FILE: &str = ".lxc-dev-manager/limactl.json";

/// Identifies a program file; changes with an update.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProgramId {
    /// Canonical: package managers install links.
    path: PathBuf,
    /// In bytes.
    length: u64,
    /// mtime and ctime: seconds and nanoseconds since 1970.
    changed: [i64; 4],
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct CachedVersion {
    version: u32,
    limactl: ProgramId,
    #[serde(rename = "told")]
    program_version: String,
}

impl ProgramId {
    /// Reads the current state of a program.
    pub(crate) fn of(program: &Path) -> Option<Self> {
        let path = program.canonicalize().ok()?;
        let found = fs::metadata(&path).ok()?;
        Some(Self {
            length: found.len(),
            changed: [
                found.mtime(),
                found.mtime_nsec(),
                found.ctime(),
                found.ctime_nsec(),
            ],
            inode: found.ino(),
            path,
        })
    }

    /// Returns the cached version of this program.
    pub(crate) fn cached_version(&self, home: &Path) -> Option<String> {
        let cached: CachedVersion = json::read(&home.join(FILE)).ok()?;
        (cached.limactl == *self).then_some(cached.program_version)
    }

    /// Caches the version; a failure is ignored.
    pub(crate) fn store_version(self, home: &Path, version: &str) {
        let cached = CachedVersion {
            version: json::VERSION,
            limactl: self,
            program_version: version.to_owned(),
        };
        // `LIMA_HOME` itself is left for Lima to create.
        if home.is_dir() {
            let cached = write_json(&home.join(FILE), &cached);
            tracing::debug!(?cached, "cached the version of limactl");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_program_is_not_cached() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("limactl");
        fs::write(&program, "one").unwrap();
        let known = || ProgramId::of(&program).unwrap();
        assert_eq!(known().cached_version(home.path()), None);
        known().store_version(home.path(), "2.2.0");
        assert_eq!(
            known().cached_version(home.path()).as_deref(),
            Some("2.2.0")
        );
        fs::write(home.path().join("new"), "two").unwrap();
        fs::rename(home.path().join("new"), &program).unwrap();
        assert_eq!(known().cached_version(home.path()), None);
    }
}
