//! The version that a limactl has told, so that not every command of ours starts it twice.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::lima::json;
use crate::home::write_json;

/// Where it is kept, below our directory in `LIMA_HOME`.
const FILE: &str = ".lxc-dev-manager/limactl.json";

/// A program, told from the one that an update puts in its place.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Links followed: package managers change where they lead.
    path: PathBuf,
    /// Bytes.
    length: u64,
    /// Seconds and nanoseconds since 1970, of the file and of what is known of it.
    changed: [i64; 4],
    inode: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    limactl: Known,
    told: String,
}

impl Known {
    /// A program as it is now.
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

    /// The version that it has told before.
    pub(crate) fn told(&self, home: &Path) -> Option<String> {
        let kept: Kept = json::read(&home.join(FILE)).ok()?;
        (kept.limactl == *self).then_some(kept.told)
    }

    /// Keeps its version for others. Where that fails, they ask as well.
    pub(crate) fn keep(self, home: &Path, told: &str) {
        let kept = Kept {
            version: json::VERSION,
            limactl: self,
            told: told.to_owned(),
        };
        // Not before Lima's own directory is there: that is Lima's to make.
        if home.is_dir() {
            let kept = write_json(&home.join(FILE), &kept);
            tracing::debug!(?kept, "the version of limactl is noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_in_its_place_is_asked_anew() {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("limactl");
        fs::write(&program, "one").unwrap();
        let known = || Known::of(&program).unwrap();
        assert_eq!(known().told(home.path()), None);
        known().keep(home.path(), "2.2.0");
        assert_eq!(known().told(home.path()).as_deref(), Some("2.2.0"));
        fs::write(home.path().join("new"), "two").unwrap();
        fs::rename(home.path().join("new"), &program).unwrap();
        assert_eq!(known().told(home.path()), None);
    }
}
