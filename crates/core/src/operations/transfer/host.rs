//! The host's end of a copy.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::{Directory, Kind};
use crate::error::{Error, ErrorKind, Result};
use crate::escape::visible_path;

/// Name of the copied item in a stream and in a staging directory.
pub(super) const ITEM: &str = "item";

/// Moves a received copy to its target, all of it or nothing: it checks the whole merge first. Can be repeated. Paths are
/// absolute and without links. A copy that is staged in its target is merged into it.
///
/// # Errors
/// `Conflict` with the path in the way; `Io`.
pub(super) fn commit(staging: &Path, target: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", target.display()), error);
    let (parent, staged) = open_parent(staging).map_err(failed)?;
    let stage = parent.child(staged).map_err(failed)?;
    let item = OsStr::new(ITEM);
    if stage.kind(item).map_err(failed)?.is_some() {
        if staging.parent() == Some(target) {
            let item = stage.child(item).map_err(failed)?;
            check_all(&item, &parent, target)?;
            move_all(&item, &parent, target)?;
        } else {
            let name = target.file_name().unwrap_or_default();
            check(&stage, item, &parent, name, target)?;
            place(&stage, item, &parent, name, target)?;
        }
    }
    parent.remove(staged).map_err(failed)
}

fn open_parent(path: &Path) -> io::Result<(Directory, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((Directory::open(parent)?, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Fails if an item cannot be moved to a name: a directory is only merged with a directory, never through a link, and
/// nothing else replaces a directory.
fn check(from: &Directory, item: &OsStr, to: &Directory, name: &OsStr, shown: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", visible_path(shown)), error);
    let refuse = |what: &str| {
        let message = format!("{} is {what}; nothing was copied", visible_path(shown));
        Err(Error::new(ErrorKind::Conflict, message)
            .with_hint("move it away, or choose another target"))
    };
    let is_directory = from.kind(item).map_err(failed)? == Some(Kind::Directory);
    match (is_directory, to.kind(name).map_err(failed)?) {
        (_, None) => to.ensure_writable().map_err(failed),
        (true, Some(Kind::Directory)) => {
            let (item, existing) = (from.child(item), to.child(name));
            check_all(&item.map_err(failed)?, &existing.map_err(failed)?, shown)
        }
        (true, Some(Kind::Link)) => refuse("a symbolic link, and the copy has a directory there"),
        (true, Some(Kind::Other)) => refuse("a file, and the copy has a directory there"),
        (false, Some(Kind::Directory)) => refuse("a directory, and the copy has a file there"),
        (false, Some(_)) => to.ensure_writable().map_err(failed),
    }
}

fn check_all(item: &Directory, to: &Directory, shown: &Path) -> Result<()> {
    let names = item.names();
    let names = names.map_err(|error| Error::io("cannot read the copy", error))?;
    names
        .iter()
        .try_for_each(|name| check(item, name, to, name, &shown.join(name)))
}

/// Moves an item to a name. Links are replaced, not followed. A failure names the path that stopped it.
fn place(from: &Directory, item: &OsStr, to: &Directory, name: &OsStr, shown: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("cannot write {}", visible_path(shown)), error);
    let is_directory = from.kind(item).map_err(failed)? == Some(Kind::Directory);
    if is_directory && to.kind(name).map_err(failed)? == Some(Kind::Directory) {
        let (item, existing) = (from.child(item), to.child(name));
        return move_all(&item.map_err(failed)?, &existing.map_err(failed)?, shown);
    }
    from.rename(item, to, name).map_err(failed)
}

fn move_all(item: &Directory, to: &Directory, shown: &Path) -> Result<()> {
    let names = item.names();
    let names = names.map_err(|error| Error::io("cannot read the copy", error))?;
    names
        .iter()
        .try_for_each(|name| place(item, name, to, name, &shown.join(name)))
}

/// Deletes a received copy, and the empty directories from its parent up to `created`.
pub(super) fn discard(staging: &Path, created: Option<&Path>) -> Result<()> {
    let failed = |error| Error::io(format!("cannot delete {}", staging.display()), error);
    match open_parent(staging) {
        Ok((parent, staged)) => parent.remove(staged).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    if let Some(created) = created {
        remove_empty(staging.parent().unwrap_or(created), created);
    }
    Ok(())
}

/// An absolute path with the links of its existing part resolved.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let resolved = path.ancestors().find_map(|above| {
        let (real, rest) = (above.canonicalize().ok()?, path.strip_prefix(above).ok()?);
        Some(if rest.as_os_str().is_empty() {
            real
        } else {
            real.join(rest)
        })
    });
    resolved.unwrap_or_else(|| path.to_path_buf())
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
    use std::os::unix::fs::symlink;

    use super::*;

    /// A directory with the links of the system's own path resolved.
    fn root() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        (root, path)
    }

    #[test]
    fn commit_merges_directories() {
        let (_root, root) = root();
        let (staging, target) = (root.join("staging"), root.join("target"));
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
        let (_root, root) = root();
        let parent = root.join("a/b/c");
        let created = topmost_missing(&parent).unwrap();
        assert_eq!(created, root.join("a"));
        let staging = parent.join(".ldm-1");
        let discard = || discard(&staging, Some(&created)).unwrap();
        fs::create_dir_all(root.join("a/b")).unwrap();
        discard();
        assert!(root.exists() && !created.exists());
        fs::create_dir_all(&staging).unwrap();
        fs::write(root.join("a/another's"), "x").unwrap();
        discard();
        assert!(created.join("another's").exists() && !created.join("b").exists());
        assert_eq!(topmost_missing(&root), None);
    }

    /// The links that a first copy has brought.
    #[test]
    fn commit_does_not_follow_links_of_the_target() {
        let (_root, root) = root();
        let (staging, target) = (root.join("staging"), root.join("target"));
        for directory in ["victim", "target", "staging/item/link", "staging/item/new"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("victim/mine"), "mine").unwrap();
        fs::write(staging.join("item/link/mine"), "evil").unwrap();
        fs::write(staging.join("item/new/file"), "new").unwrap();
        symlink("../victim", target.join("link")).unwrap();
        let error = commit(&staging, &target).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(
            error.to_string().contains("target/link is a symbolic link"),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(root.join("victim/mine")).unwrap(),
            "mine"
        );
        // All or nothing.
        assert!(!target.join("new").exists());
        // The target itself.
        fs::remove_dir_all(&target).unwrap();
        symlink("victim", &target).unwrap();
        assert!(commit(&staging, &target).is_err());
        assert_eq!(fs::read_dir(root.join("victim")).unwrap().count(), 1);
        // A file replaces a link, and not what it points to.
        fs::remove_dir_all(staging.join("item")).unwrap();
        fs::write(staging.join("item"), "new").unwrap();
        fs::remove_file(&target).unwrap();
        symlink("victim/mine", &target).unwrap();
        commit(&staging, &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(
            fs::read_to_string(root.join("victim/mine")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn directories_above_may_not_become_links() {
        let (_root, root) = root();
        fs::create_dir_all(root.join("victim/.ldm-1/item")).unwrap();
        symlink("victim", root.join("link")).unwrap();
        assert!(commit(&root.join("link/.ldm-1"), &root.join("link/x")).is_err());
        assert!(discard(&root.join("link/.ldm-1"), None).is_err());
        assert!(root.join("victim/.ldm-1/item").exists());
    }

    #[test]
    fn copy_staged_in_its_target_is_merged_into_it() {
        let (_root, root) = root();
        let staging = root.join(".ldm-1");
        fs::create_dir_all(staging.join("item/sub")).unwrap();
        fs::write(staging.join("item/sub/new"), "new").unwrap();
        fs::create_dir(root.join("sub")).unwrap();
        commit(&staging, &root).unwrap();
        assert!(root.join("sub/new").exists() && !staging.exists());
    }

    #[test]
    fn commit_does_not_replace_a_directory_with_a_file() {
        let (_root, root) = root();
        let (staging, target) = (root.join("staging"), root.join("target"));
        fs::create_dir_all(&staging).unwrap();
        fs::write(staging.join("item"), "x").unwrap();
        fs::create_dir(&target).unwrap();
        assert!(commit(&staging, &target).is_err());
        assert!(target.is_dir());
    }
}
