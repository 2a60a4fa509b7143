//! The host's end of a copy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Name of the copied item in a stream and in a staging directory.
pub(super) const ITEM: &str = "item";

/// Moves a received copy to its target. Can be repeated.
pub(super) fn commit(staging: &Path, target: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", target.display()), error);
    let item = staging.join(ITEM);
    if item.symlink_metadata().is_ok() {
        move_into_place(&item, target).map_err(failed)?;
    }
    fs::remove_dir_all(staging).map_err(failed)
}

/// Moves a file or directory. An existing directory is merged with the new one.
fn move_into_place(item: &Path, target: &Path) -> io::Result<()> {
    let is_directory = item.symlink_metadata()?.is_dir();
    match (is_directory, target.is_dir()) {
        (true, true) => {
            for entry in fs::read_dir(item)? {
                let entry = entry?;
                move_into_place(&entry.path(), &target.join(entry.file_name()))?;
            }
            Ok(())
        }
        (false, true) if !target.is_symlink() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        _ => fs::rename(item, target),
    }
}

/// Deletes a received copy, and the empty directories from its parent up to `created`.
pub(super) fn discard(staging: &Path, created: Option<&Path>) -> Result<()> {
    if staging.exists() {
        let failed = |error| Error::io(format!("cannot delete {}", staging.display()), error);
        fs::remove_dir_all(staging).map_err(failed)?;
    }
    if let Some(created) = created {
        remove_empty(staging.parent().unwrap_or(created), created);
    }
    Ok(())
}

/// Removes a directory and its parents up to `topmost`, as long as they are empty.
fn remove_empty(lowest: &Path, topmost: &Path) {
    let directories = lowest
        .ancestors()
        .take_while(|above| above.starts_with(topmost));
    for directory in directories {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return,
            _ => {}
        }
    }
}

/// The topmost directory that has to be created for this one to exist.
pub(super) fn topmost_missing(directory: &Path) -> Option<PathBuf> {
    let missing = directory.ancestors().take_while(|above| !above.is_dir());
    missing.last().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_merges_directories() {
        let root = tempfile::tempdir().unwrap();
        let (staging, target) = (root.path().join("staging"), root.path().join("target"));
        fs::create_dir_all(staging.join("item/sub")).unwrap();
        fs::write(staging.join("item/sub/new"), "new").unwrap();
        fs::write(staging.join("item/both"), "new").unwrap();
        fs::create_dir_all(target.join("sub")).unwrap();
        fs::write(target.join("sub/old"), "old").unwrap();
        fs::write(target.join("both"), "old").unwrap();
        commit(&staging, &target).unwrap();
        assert_eq!(fs::read_to_string(target.join("both")).unwrap(), "new");
        assert!(target.join("sub/old").exists() && target.join("sub/new").exists());
        assert!(!staging.exists());
    }

    #[test]
    fn discard_removes_only_empty_directories() {
        let root = tempfile::tempdir().unwrap();
        let parent = root.path().join("a/b/c");
        let created = topmost_missing(&parent).unwrap();
        assert_eq!(created, root.path().join("a"));
        let staging = parent.join(".ldm-1");
        let discard = || discard(&staging, Some(&created)).unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        discard();
        assert!(root.path().exists() && !created.exists());
        fs::create_dir_all(&staging).unwrap();
        fs::write(root.path().join("a/another's"), "x").unwrap();
        discard();
        assert!(created.join("another's").exists() && !created.join("b").exists());
        assert_eq!(topmost_missing(root.path()), None);
    }

    #[test]
    fn commit_does_not_replace_a_directory_with_a_file() {
        let root = tempfile::tempdir().unwrap();
        let (staging, target) = (root.path().join("staging"), root.path().join("target"));
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("item"), "x").unwrap();
        fs::create_dir(&target).unwrap();
        assert!(commit(&staging, &target).is_err());
        assert!(target.is_dir());
    }
}
