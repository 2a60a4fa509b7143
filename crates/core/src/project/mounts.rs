//! `mounts:` of an env: directories of the host in the guest.
//!
//! The file may come with a cloned repository, so [`trust`](super::trust) asks about each mount. The engine gets the
//! path after resolving symbolic links.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::schema::MountEntry;
use crate::backend::{Mount, outermost};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;

/// Directories in which mounts are allowed.
pub(super) struct Allowed<'a> {
    /// The project's directory, absolute.
    pub(super) directory: &'a Path,
    /// The user's home.
    pub(super) home: Option<&'a Path>,
}

/// Checks all mounts of an env.
///
/// # Errors
/// `Config` with the mount and the reason.
pub(super) fn check(
    env: &EnvName,
    entries: &[MountEntry],
    allowed: &Allowed<'_>,
) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for entry in entries {
        let failed =
            |error: Error| error.context(format!("cannot mount `{}` in `{env}`", entry.host));
        let mount = check_one(entry, allowed).map_err(failed)?;
        if mounts.iter().any(|other| other.guest == mount.guest) {
            let message = format!("another mount has the guest path `{}`", entry.guest);
            return Err(failed(Error::new(ErrorKind::Config, message)));
        }
        mounts.push(mount);
    }
    for (entry, mount) in entries.iter().zip(&mounts) {
        // The guest could replace a directory on the way.
        if let Some(outer) = mounts.iter().find(|other| other.contains(mount)) {
            let message = format!(
                "cannot mount `{}` in `{env}`: it is in the writable mount of {}",
                entry.host,
                outer.host.display()
            );
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("remove one of them, or add `readonly: true` to the outer one"));
        }
    }
    Ok(mounts)
}

fn check_one(entry: &MountEntry, allowed: &Allowed<'_>) -> Result<Mount> {
    Ok(Mount {
        guest: guest_path(&entry.guest)?,
        host: host_path(entry, allowed)?,
        readonly: entry.readonly,
    })
}

fn host_path(entry: &MountEntry, allowed: &Allowed<'_>) -> Result<PathBuf> {
    let named = named_path(&entry.host, allowed)?;
    let real = named.canonicalize().map_err(|error| {
        let message = format!("the directory {} does not exist", named.display());
        Error::new(ErrorKind::Config, message)
            .with_hint(format!(
                "create it: `mkdir -p {}`, or correct `mounts:`",
                named.display()
            ))
            .caused_by(error)
    })?;
    if !real.is_dir() {
        let message = format!("{} is not a directory", real.display());
        return Err(Error::new(ErrorKind::Config, message).with_hint("mount its directory"));
    }
    if real.to_str().is_none() {
        let message = format!("the path {} is not UTF-8", real.display());
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(real)
}

/// Fails for a mount of root that a guest cannot use. Root is not mapped to a guest's user, who could then change the
/// host through `/proc/sys`; so the guest has only the access of other users.
///
/// # Errors
/// `Config` for a writable mount, and for a directory that is private to root.
pub(crate) fn ensure_usable_for_root(mounts: &[Mount]) -> Result<()> {
    const HINT: &str = "run this program as the user that the files belong to";
    for Mount { host, readonly, .. } in mounts {
        if !readonly {
            let message = format!("cannot mount {} writable for root", host.display());
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint(format!("{HINT}, or add `readonly: true`")));
        }
        let mode = std::fs::metadata(host).map_or(0, |metadata| metadata.mode());
        if mode & 0o005 != 0o005 {
            let message = format!(
                "cannot mount {}: it is private to its owner",
                host.display()
            );
            return Err(Error::new(ErrorKind::Config, message).with_hint(HINT));
        }
    }
    Ok(())
}

/// Fails if a mount's source is no longer what it was when the mount was made: a link would lead elsewhere.
///
/// # Errors
/// `Config` with the source.
pub(crate) fn ensure_unmoved(mounts: &[Mount]) -> Result<()> {
    for Mount { host, .. } in outermost(mounts) {
        let problem = match host.canonicalize() {
            Ok(real) if real == host => continue,
            Ok(real) => format!("it leads to {} now", real.display()),
            Err(error) => error.to_string(),
        };
        let message = format!("cannot mount {}: {problem}", host.display());
        return Err(Error::new(ErrorKind::Config, message)
            .with_hint("correct it, or apply the file's mounts: `lxc-dev-manager config apply`"));
    }
    Ok(())
}

/// Whether a path of the host, without links, needs a consent of its own: it is neither in the project nor in the home,
/// it contains one of them, or it is in a dot-directory of the home, with keys and settings.
pub(super) fn is_sensitive(real: &Path, directory: &Path, user_home: Option<&Path>) -> bool {
    let home = user_home.and_then(|home| home.canonicalize().ok());
    if home.as_ref().is_some_and(|home| home.starts_with(real)) || real.parent().is_none() {
        return true;
    }
    if real.starts_with(directory) {
        return false;
    }
    let below_home = home.as_ref().and_then(|home| real.strip_prefix(home).ok());
    let first = below_home.and_then(|below| below.components().next());
    first.is_none_or(|first| first.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// The path before resolving links.
fn named_path(text: &str, allowed: &Allowed<'_>) -> Result<PathBuf> {
    let refuse = |message: &str| Err(Error::new(ErrorKind::Config, message));
    if text.is_empty() || text.contains('\0') {
        return refuse("`host:` is empty or has a NUL byte");
    }
    let Some(rest) = text.strip_prefix('~') else {
        // An absolute path replaces the directory.
        return Ok(allowed.directory.join(text));
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return refuse("homes of other users are not supported: expected `~/…`");
    }
    match allowed.home {
        Some(home) => Ok(home.join(rest.trim_start_matches('/'))),
        None => refuse("cannot resolve `~`: no home directory"),
    }
}

fn guest_path(text: &str) -> Result<PathBuf> {
    let refuse = |reason: &str| {
        let message = format!("invalid guest path `{text}`: it {reason}");
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("use an absolute path, such as `guest: /work`"))
    };
    if text.starts_with('~') {
        return refuse("starts with `~`, which is not supported here");
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return refuse("is not absolute");
    }
    if text.contains(char::is_control) {
        return refuse("has a control character");
    }
    let is_relative = |part: &str| part == "." || part == "..";
    if text.split('/').any(is_relative) {
        return refuse("has `.` or `..`");
    }
    // Drops repeated and trailing slashes.
    let plain: PathBuf = path.components().collect();
    if plain.components().all(|part| part == Component::RootDir) {
        return refuse("is the root directory");
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A project, a home, and a directory outside of both.
    struct TestTree(tempfile::TempDir);

    impl TestTree {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["project/data", "home/cache", "outside"] {
                fs::create_dir_all(root.path().join(directory)).unwrap();
            }
            fs::write(root.path().join("project/file"), "").unwrap();
            symlink("../outside", root.path().join("project/escape")).unwrap();
            symlink("data", root.path().join("project/link")).unwrap();
            symlink(
                root.path().join("home/cache"),
                root.path().join("outside/back"),
            )
            .unwrap();
            Self(root)
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(below)
        }

        fn mount(&self, host: &str, guest: &str) -> Result<Mount> {
            let entry = MountEntry {
                host: host.to_owned(),
                guest: guest.to_owned(),
                readonly: true,
            };
            let (directory, home) = (self.path("project"), self.path("home"));
            let allowed = Allowed {
                directory: &directory,
                home: Some(&home),
            };
            check(&"dev".parse().unwrap(), &[entry], &allowed).map(|mut mounts| mounts.remove(0))
        }
    }

    #[test]
    fn accepts_paths_in_the_project_and_the_home() {
        let tree = TestTree::new();
        let outside = tree.path("outside/back");
        for (host, real) in [
            (".", "project"),
            ("data", "project/data"),
            ("./link", "project/data"),
            ("../home/cache", "home/cache"),
            ("~", "home"),
            ("~/cache", "home/cache"),
            ("~//cache/", "home/cache"),
            (outside.to_str().unwrap(), "home/cache"),
        ] {
            let mount = tree.mount(host, "/work").unwrap();
            assert_eq!(mount.host, tree.path(real), "{host}");
            assert!(mount.readonly);
        }
    }

    #[test]
    fn home_its_hidden_directories_and_the_rest_of_the_host_are_sensitive() {
        let tree = TestTree::new();
        let (directory, home) = (tree.path("project"), tree.path("home"));
        for (path, expected) in [
            ("project", false),
            ("project/data", false),
            ("home/cache", false),
            ("home", true),
            ("home/.ssh", true),
            ("home/.config/x", true),
            ("outside", true),
            ("", true),
        ] {
            let sensitive = is_sensitive(&tree.path(path), &directory, Some(&home));
            assert_eq!(sensitive, expected, "{path}");
        }
        // A project that is the home.
        assert!(is_sensitive(&home, &home, Some(&home)));
        assert!(is_sensitive(
            Path::new("/"),
            &directory,
            Some(Path::new("/"))
        ));
        assert!(is_sensitive(&tree.path("home/cache"), &directory, None));
    }

    #[test]
    fn rejects_missing_paths_and_files() {
        let tree = TestTree::new();
        for (host, word) in [
            ("missing", "project/missing"),
            ("~/missing", "home/missing"),
            ("file", "not a directory"),
            ("~root/x", "other users"),
            ("", "empty"),
        ] {
            let error = tree.mount(host, "/work").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{host}");
            assert!(error.report().message.contains(word), "{host}: {error:?}");
        }
    }

    #[test]
    fn guest_paths_must_be_absolute_without_dots() {
        let tree = TestTree::new();
        assert_eq!(
            tree.mount(".", "//srv/a b//").unwrap().guest,
            Path::new("/srv/a b")
        );
        for (guest, word) in [
            ("~/work", "starts with `~`"),
            ("~", "starts with `~`"),
            ("work", "not absolute"),
            ("", "not absolute"),
            ("/", "the root directory"),
            ("//", "the root directory"),
            ("/srv/../etc", "`..`"),
            ("/srv/./etc", "`.`"),
            ("/srv/a\nb", "control character"),
        ] {
            let error = tree.mount(".", guest).unwrap_err();
            assert!(error.report().message.contains(word), "{guest}: {error:?}");
        }
    }

    #[test]
    fn rejects_two_mounts_at_one_guest_path() {
        let tree = TestTree::new();
        let entry = |guest: &str| MountEntry {
            host: ".".to_owned(),
            guest: guest.to_owned(),
            readonly: false,
        };
        let directory = tree.path("project");
        let allowed = Allowed {
            directory: &directory,
            home: None,
        };
        let env = "dev".parse().unwrap();
        assert!(check(&env, &[entry("/a"), entry("/b")], &allowed).is_ok());
        let error = check(&env, &[entry("/a"), entry("/a/")], &allowed).unwrap_err();
        assert!(
            error.report().message.contains("another mount"),
            "{error:?}"
        );
    }
}
