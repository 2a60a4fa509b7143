//! `mounts:` of an env: which directories of the host it may see.
//!
//! A file comes with a cloned repository, so it may not open any directory it likes: what it names has to
//! lie in the project or in the user's home, symbolic links followed, unless it says `force: true`. The engine
//! gets the path without links.

use std::path::{Component, Path, PathBuf};

use super::schema::MountEntry;
use crate::backend::Mount;
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;

/// Where an env's mounts may be: the project's directory, and the user's home where it is known.
pub(super) struct Allowed<'a> {
    /// The project's directory, absolute.
    pub(super) directory: &'a Path,
    /// The user's home.
    pub(super) home: Option<&'a Path>,
}

/// All mounts of an env, checked.
///
/// # Errors
/// `Config` naming the mount and what is wrong with it.
pub(super) fn check(
    env: &EnvName,
    entries: &[MountEntry],
    allowed: &Allowed<'_>,
) -> Result<Vec<Mount>> {
    let mut mounts: Vec<Mount> = Vec::new();
    for entry in entries {
        let failed =
            |error: Error| error.context(format!("`{env}` can't have the mount `{}`", entry.host));
        let mount = check_one(entry, allowed).map_err(failed)?;
        if mounts.iter().any(|other| other.guest == mount.guest) {
            let message = format!("`{}` is the place of another mount too", entry.guest);
            return Err(failed(Error::new(ErrorKind::Config, message)));
        }
        mounts.push(mount);
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
        let message = format!("there is no directory {}", named.display());
        Error::new(ErrorKind::Config, message)
            .with_hint(format!(
                "make it: `mkdir -p {}`, or correct `mounts:`",
                named.display()
            ))
            .caused_by(error)
    })?;
    if !real.is_dir() {
        let message = format!("{} is not a directory", real.display());
        return Err(
            Error::new(ErrorKind::Config, message).with_hint("mount the directory it is in")
        );
    }
    if real.to_str().is_none() {
        let message = format!(
            "the path {} is not UTF-8, which engines refuse",
            real.display()
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    if entry.force || is_inside(&real, allowed) {
        return Ok(real);
    }
    let message = format!(
        "{} lies neither in the project nor in your home",
        real.display()
    );
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("add `force: true` to the mount if the env shall see it all the same"))
}

/// The path that is meant, links not followed yet.
fn named_path(text: &str, allowed: &Allowed<'_>) -> Result<PathBuf> {
    let refuse = |message: &str| Err(Error::new(ErrorKind::Config, message));
    if text.is_empty() || text.contains('\0') {
        return refuse("its `host:` is empty or has a zero byte");
    }
    let Some(rest) = text.strip_prefix('~') else {
        // An absolute one replaces the directory.
        return Ok(allowed.directory.join(text));
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return refuse("only `~/…`, your own home, is known, not another user's");
    }
    match allowed.home {
        Some(home) => Ok(home.join(rest.trim_start_matches('/'))),
        None => refuse("`~` is unknown: there is no home directory"),
    }
}

/// Whether a path without links is in the project or in the home. A home that is the root directory holds
/// everything, and so says nothing.
fn is_inside(real: &Path, allowed: &Allowed<'_>) -> bool {
    let roots = [Some(allowed.directory), allowed.home];
    let real_roots = roots
        .into_iter()
        .flatten()
        .filter_map(|root| root.canonicalize().ok());
    real_roots
        .filter(|root| root.parent().is_some())
        .any(|root| real.starts_with(root))
}

fn guest_path(text: &str) -> Result<PathBuf> {
    let refuse = |why: &str| {
        let message = format!("its place in the guest, `{text}`, {why}");
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("write an absolute path, such as `guest: /work`"))
    };
    if text.starts_with('~') {
        return refuse("begins with `~`: homes of the guest are not known here");
    }
    let path = Path::new(text);
    if !path.is_absolute() {
        return refuse("is not absolute");
    }
    if text.contains(char::is_control) {
        return refuse("has a control character in it");
    }
    let up = |part: &str| part == "." || part == "..";
    if text.split('/').any(up) {
        return refuse("has `.` or `..` in it");
    }
    // Components leave out what stands twice and at the end.
    let plain: PathBuf = path.components().collect();
    if plain.components().all(|part| part == Component::RootDir) {
        return refuse("is the whole guest");
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A project and a home beside each other, and a directory outside of both.
    struct Place(tempfile::TempDir);

    impl Place {
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

        fn mount(&self, host: &str, guest: &str, force: bool) -> Result<Mount> {
            let entry = MountEntry {
                host: host.to_owned(),
                guest: guest.to_owned(),
                readonly: true,
                force,
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
    fn paths_of_the_project_and_the_home_are_taken() {
        let place = Place::new();
        let outside = place.path("outside/back");
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
            let mount = place.mount(host, "/work", false).unwrap();
            assert_eq!(mount.host, place.path(real), "{host}");
            assert!(mount.readonly);
        }
    }

    #[test]
    fn what_lies_outside_needs_force_also_behind_a_link() {
        let place = Place::new();
        let outside = place.path("outside");
        for host in [
            "../outside",
            "escape",
            "escape/.",
            "/",
            outside.to_str().unwrap(),
        ] {
            let error = place.mount(host, "/work", false).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{host}");
            assert!(error.hint().unwrap().contains("force: true"), "{host}");
            assert!(place.mount(host, "/work", true).is_ok(), "{host}");
        }
        let forced = place.mount("escape", "/work", true).unwrap();
        assert_eq!(forced.host, outside);
    }

    #[test]
    fn a_home_that_is_the_whole_disk_opens_nothing() {
        let place = Place::new();
        let directory = place.path("project");
        let allowed = Allowed {
            directory: &directory,
            home: Some(Path::new("/")),
        };
        assert!(!is_inside(&place.path("outside"), &allowed));
        assert!(is_inside(&place.path("project/data"), &allowed));
    }

    #[test]
    fn what_is_not_there_or_no_directory_is_named() {
        let place = Place::new();
        for (host, word) in [
            ("missing", "project/missing"),
            ("~/missing", "home/missing"),
            ("file", "not a directory"),
            ("~root/x", "another user's"),
            ("", "empty"),
        ] {
            for force in [false, true] {
                let error = place.mount(host, "/work", force).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Config, "{host}");
                assert!(error.report().message.contains(word), "{host}: {error:?}");
            }
        }
    }

    #[test]
    fn guest_paths_are_absolute_and_plain() {
        let place = Place::new();
        assert_eq!(
            place.mount(".", "//srv/a b//", false).unwrap().guest,
            Path::new("/srv/a b")
        );
        for (guest, word) in [
            ("~/work", "homes of the guest"),
            ("~", "homes of the guest"),
            ("work", "not absolute"),
            ("", "not absolute"),
            ("/", "the whole guest"),
            ("//", "the whole guest"),
            ("/srv/../etc", "`..`"),
            ("/srv/./etc", "`.`"),
            ("/srv/a\nb", "control character"),
        ] {
            let error = place.mount(".", guest, true).unwrap_err();
            assert!(error.report().message.contains(word), "{guest}: {error:?}");
        }
    }

    #[test]
    fn no_two_mounts_have_one_place() {
        let place = Place::new();
        let entry = |guest: &str| MountEntry {
            host: ".".to_owned(),
            guest: guest.to_owned(),
            readonly: false,
            force: false,
        };
        let directory = place.path("project");
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
