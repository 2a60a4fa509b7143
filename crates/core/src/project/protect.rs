//! What a guest must not change in a writable mount, because this host acts on it: `containers.yaml`, and git's hooks
//! and settings, which name programs.
//!
//! Each gets a read-only mount over it. `.git` gets one, too, so that it cannot be replaced by another. This stops the
//! guest's programs, but not its root, who may unmount; and a file that is replaced on the host is open until the next
//! start.

use std::fs;
use std::path::Path;

use super::FILE_NAME;
use crate::backend::{Mount, outermost};
use crate::error::{Error, ErrorKind, Result};

/// Mounts, with those that protect parts of the writable ones.
///
/// # Errors
/// `Config` if a protected path is a link, `Io` if it cannot be read.
pub(crate) fn protect(mounts: &[Mount], project: &Path, git_writable: bool) -> Result<Vec<Mount>> {
    let mut all = Vec::new();
    for mount in outermost(mounts) {
        if !mount.readonly {
            if !git_writable {
                protect_git(&mount, &mount.host, &mut all)?;
            }
            if project.starts_with(&mount.host) {
                if !git_writable && project != mount.host {
                    protect_git(&mount, project, &mut all)?;
                }
                let file = project.join(FILE_NAME);
                if fs::symlink_metadata(&file).is_ok_and(|found| found.is_file()) {
                    all.push(inner(&mount, &file, true));
                }
            }
        }
        all.push(mount);
    }
    // An outer mount comes first.
    all.sort_by(|a, b| a.guest.cmp(&b.guest));
    Ok(all)
}

/// Whether a mount has parts that `git: writable` leaves open.
pub(super) fn has_git(mount: &Mount, project: &Path) -> bool {
    let is_repository = |directory: &Path| {
        directory.starts_with(&mount.host)
            && fs::symlink_metadata(directory.join(".git")).is_ok_and(|found| !found.is_symlink())
    };
    !mount.readonly
        && [mount.host.as_path(), project]
            .into_iter()
            .any(is_repository)
}

fn protect_git(mount: &Mount, repository: &Path, all: &mut Vec<Mount>) -> Result<()> {
    let git = repository.join(".git");
    let Ok(found) = fs::symlink_metadata(&git) else {
        return Ok(());
    };
    if !found.is_dir() {
        // In a worktree or submodule: the path of the real one. Git follows no link here.
        all.extend(found.is_file().then(|| inner(mount, &git, true)));
        return Ok(());
    }
    let hooks = git.join("hooks");
    if git.join("HEAD").is_file() && fs::symlink_metadata(&hooks).is_err() {
        fs::create_dir(&hooks)
            .map_err(|error| Error::io(format!("cannot create {}", hooks.display()), error))?;
    }
    all.push(inner(mount, &git, false));
    for path in [hooks, git.join("config")] {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let message = format!(
                    "{} is a link, which cannot be protected from the env",
                    path.display()
                );
                return Err(Error::new(ErrorKind::Config, message).with_hint(
                    "replace it by its target, or give the env all of git: `git: writable` in containers.yaml",
                ));
            }
            Ok(_) => all.push(inner(mount, &path, true)),
            Err(_) => {}
        }
    }
    Ok(())
}

/// A mount over a part of another.
fn inner(mount: &Mount, path: &Path, readonly: bool) -> Mount {
    let below = path.strip_prefix(&mount.host).unwrap_or(path);
    Mount {
        host: path.to_path_buf(),
        guest: mount.guest.join(below),
        readonly,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A repository with a project in it, all of it mounted at `/work`.
    struct TestRepository {
        _root: tempfile::TempDir,
        mount: Mount,
    }

    impl TestRepository {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let host = root.path().canonicalize().unwrap();
            fs::create_dir_all(host.join(".git")).unwrap();
            fs::create_dir(host.join("app")).unwrap();
            for file in [".git/HEAD", ".git/config", "app/containers.yaml"] {
                fs::write(host.join(file), "").unwrap();
            }
            let mount = Mount {
                host,
                guest: "/work".into(),
                readonly: false,
            };
            Self { _root: root, mount }
        }

        fn path(&self, below: &str) -> PathBuf {
            self.mount.host.join(below)
        }

        /// Guest paths with their access.
        fn protected(&self, mounts: &[Mount], git_writable: bool) -> Result<Vec<String>> {
            let all = protect(mounts, &self.path("app"), git_writable)?;
            let shown = all.iter().map(|mount| {
                let access = if mount.readonly { "ro" } else { "rw" };
                format!("{} {access}", mount.guest.display())
            });
            Ok(shown.collect())
        }
    }

    const ALL: [&str; 5] = [
        "/work rw",
        "/work/.git rw",
        "/work/.git/config ro",
        "/work/.git/hooks ro",
        "/work/app/containers.yaml ro",
    ];

    #[test]
    fn hooks_settings_and_the_file_are_read_only() {
        let repository = TestRepository::new();
        let mount = std::slice::from_ref(&repository.mount);
        assert_eq!(repository.protected(mount, false).unwrap(), ALL);
        let open = repository.protected(mount, true).unwrap();
        assert_eq!(open, [ALL[0], ALL[4]]);
        // Without hooks there is nothing to cover, so that they are created.
        assert!(repository.path(".git/hooks").is_dir());
    }

    #[test]
    fn protection_is_renewed_from_its_own_result() {
        let repository = TestRepository::new();
        let mount = std::slice::from_ref(&repository.mount);
        let all = protect(mount, &repository.path("app"), false).unwrap();
        fs::remove_file(repository.path(".git/config")).unwrap();
        let again = repository.protected(&all, false).unwrap();
        assert_eq!(again, [ALL[0], ALL[1], ALL[3], ALL[4]]);
    }

    #[test]
    fn read_only_mount_needs_no_protection() {
        let repository = TestRepository::new();
        let mount = Mount {
            readonly: true,
            ..repository.mount.clone()
        };
        assert_eq!(repository.protected(&[mount], false).unwrap(), ["/work ro"]);
    }

    #[test]
    fn worktree_and_links() {
        let repository = TestRepository::new();
        let mount = std::slice::from_ref(&repository.mount);
        fs::write(repository.path("app/.git"), "gitdir: /elsewhere\n").unwrap();
        let shown = repository.protected(mount, false).unwrap();
        assert!(shown.contains(&"/work/app/.git ro".to_owned()), "{shown:?}");
        fs::remove_dir_all(repository.path(".git/hooks")).unwrap();
        symlink("/etc", repository.path(".git/hooks")).unwrap();
        let error = repository.protected(mount, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(repository.protected(mount, true).is_ok());
    }
}
