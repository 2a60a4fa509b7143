//! Consent to what a project's file does to the host: it may come with a cloned repository.
//!
//! Each such part of a file is a [`HostPart`]. The user's answers are kept in the home, by the project's directory and
//! a hash of the part. A changed part has another hash, so it is asked about again; a removed one needs no answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::protect::has_git;
use super::{FILE_NAME, Project, Setup, mounts};
use crate::backend::{Mount, outermost};
use crate::error::{Error, ErrorKind, Result};
use crate::escape::visible_path;
use crate::hex;
use crate::home::{Home, read_json, write_json};
use crate::model::{EngineKind, EnvName};
use crate::view::PartView;

const VERSION: u32 = 1;

/// A part of a file that reaches the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPart {
    /// What it does, in words; without its envs.
    text: String,
    /// The envs that have it; none for a part of the whole project.
    envs: Vec<EnvName>,
    /// Whether it needs a consent of its own: `trust --force`.
    pub is_sensitive: bool,
}

impl HostPart {
    /// Hash of what it does, in hexadecimal. Envs don't count: they are all of the same file.
    fn hash(&self) -> String {
        hex::encode(&Sha256::digest(&self.text))
    }

    pub(crate) fn view(&self) -> PartView {
        PartView {
            text: self.to_string(),
            is_sensitive: self.is_sensitive,
        }
    }
}

impl fmt::Display for HostPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        for (number, env) in self.envs.iter().enumerate() {
            write!(f, "{} `{env}`", if number == 0 { " in" } else { "," })?;
        }
        Ok(())
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    version: u32,
    projects: BTreeMap<PathBuf, BTreeSet<String>>,
}

/// The user's answers, in `trust.json`.
#[derive(Debug, Clone)]
pub struct Trust {
    home: Home,
}

impl Trust {
    /// The answers of a home.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    /// The parts of a file that reach the host. Mounts that do not exist are left out: they are refused when used.
    ///
    /// # Errors
    /// `Config` and `InvalidName` for invalid values.
    pub fn parts(&self, project: &Project) -> Result<Vec<HostPart>> {
        let mut parts = remote_part(project)?;
        let listed = project.file().env_names();
        for env in &listed {
            let mounts = project.mounts(env, self.home.user_home());
            self.add_parts_of(
                project,
                env,
                &mounts.unwrap_or_default(),
                Some(env),
                &mut parts,
            )?;
        }
        // The defaults, for an env that is still to be created.
        let names = (0..=listed.len()).filter_map(|n| EnvName::parse(&format!("new-{n}")).ok());
        if let Some(new) = { names }.find(|name| !listed.contains(name)) {
            let mounts = project.mounts(&new, self.home.user_home());
            self.add_parts_of(project, &new, &mounts.unwrap_or_default(), None, &mut parts)?;
        }
        Ok(parts.0)
    }

    /// Adds the parts of an env, shown as those of `shown_env`.
    fn add_parts_of(
        &self,
        project: &Project,
        env: &EnvName,
        mounts: &[Mount],
        shown_env: Option<&EnvName>,
        parts: &mut Parts,
    ) -> Result<()> {
        let file = project.file();
        let directory = project.directory();
        let user_home = self.home.user_home();
        let is_git_open = file.is_git_writable(env)? || file.backend()?.matches(EngineKind::Lima);
        for mount in mounts {
            let access = if mount.readonly {
                "read-only"
            } else if is_git_open && has_git(mount, directory) {
                "writable with git's hooks and settings"
            } else {
                "writable"
            };
            let text = format!(
                "mounts {} at {}, {access},",
                visible_path(&mount.host),
                visible_path(&mount.guest)
            );
            let is_sensitive = mounts::is_sensitive(&mount.host, directory, user_home);
            parts.add(shown_env, text, is_sensitive);
        }
        if let Some(Setup::File(path)) = project.setup(env)?
            && !path.starts_with(directory)
        {
            let text = format!("runs the script {}", visible_path(&path));
            let is_sensitive = mounts::is_sensitive(&path, directory, user_home);
            parts.add(shown_env, text, is_sensitive);
        }
        for name in file.host_variables(env)? {
            parts.add(shown_env, format!("passes on the variable {name}"), false);
        }
        for port in file.ports(env)? {
            let scope = file.reach(env, port)?;
            if scope.is_open() {
                let text = format!("forwards port {port} at {scope}");
                parts.add(shown_env, text, false);
            }
        }
        if file.wake(env) {
            parts.add(shown_env, "starts at connections".to_owned(), false);
        }
        if file.autostart(env) {
            parts.add(shown_env, "starts with the engine".to_owned(), false);
        }
        Ok(())
    }

    /// The parts without an answer.
    ///
    /// # Errors
    /// Those of [`Self::parts`]; `Io` if the answers are unreadable.
    pub fn untrusted(&self, project: &Project) -> Result<Vec<HostPart>> {
        self.unanswered(project, self.parts(project)?)
    }

    fn unanswered(&self, project: &Project, mut parts: Vec<HostPart>) -> Result<Vec<HostPart>> {
        if !parts.is_empty() {
            let known = self.read()?.projects.remove(project.directory());
            let known = known.unwrap_or_default();
            parts.retain(|part| !known.contains(&part.hash()));
        }
        Ok(parts)
    }

    /// Fails unless all parts of an env have an answer. Takes the mounts that will be used: a link in the file's may
    /// lead elsewhere by then.
    ///
    /// # Errors
    /// `Untrusted` with the parts; those of [`Self::untrusted`].
    pub fn ensure(&self, project: &Project, env: &EnvName, mounts: &[Mount]) -> Result<()> {
        let mut parts = remote_part(project)?;
        self.add_parts_of(project, env, &outermost(mounts), Some(env), &mut parts)?;
        self.ensure_answered(project, parts)
    }

    /// Fails unless the file's remote, if any, has an answer.
    ///
    /// # Errors
    /// As above.
    pub fn ensure_remote(&self, project: &Project) -> Result<()> {
        self.ensure_answered(project, remote_part(project)?)
    }

    fn ensure_answered(&self, project: &Project, parts: Parts) -> Result<()> {
        let parts = self.unanswered(project, parts.0)?;
        if parts.is_empty() {
            return Ok(());
        }
        Err(not_trusted(project, &parts))
    }

    /// Records the user's consent to these parts, as they were shown to the user.
    ///
    /// # Errors
    /// `Conflict` if the file has changed since; those of [`Self::parts`]; `Io` if the answers cannot be written.
    pub fn add_shown(&self, project: &Project, shown: &[String]) -> Result<()> {
        let parts = self.parts(project)?;
        let find = |text: &String| parts.iter().find(|part| part.to_string() == *text);
        let found: Option<Vec<&HostPart>> = shown.iter().map(find).collect();
        let Some(found) = found else {
            let message = format!("{FILE_NAME} has changed");
            return Err(Error::new(ErrorKind::Conflict, message).with_hint("review it again"));
        };
        self.change(|projects| {
            let known = projects.entry(project.directory().to_path_buf());
            known
                .or_default()
                .extend(found.into_iter().map(HostPart::hash));
        })
    }

    /// Records the user's consent to all parts, with `force` also to the sensitive ones. Returns the parts that are
    /// still without it.
    ///
    /// # Errors
    /// Those of [`Self::parts`]; `Io` if the answers cannot be written.
    pub fn add(&self, project: &Project, force: bool) -> Result<Vec<HostPart>> {
        let parts = self.parts(project)?;
        self.change(|projects| {
            let known = projects.remove(project.directory()).unwrap_or_default();
            let is_allowed =
                |part: &&HostPart| force || !part.is_sensitive || known.contains(&part.hash());
            let allowed = parts.iter().filter(is_allowed).map(HostPart::hash);
            let allowed: BTreeSet<String> = allowed.collect();
            if !allowed.is_empty() {
                projects.insert(project.directory().to_path_buf(), allowed);
            }
        })?;
        self.untrusted(project)
    }

    /// Forgets the answers for a directory. Returns whether there were any.
    ///
    /// # Errors
    /// `Io` if the answers cannot be written.
    pub fn remove(&self, directory: &Path) -> Result<bool> {
        let mut was_there = false;
        self.change(|projects| was_there = projects.remove(directory).is_some())?;
        Ok(was_there)
    }

    fn read(&self) -> Result<Document> {
        // An unreadable file is set aside: then everything is asked about again.
        let (document, _) = read_json::<Document>(&self.home.trust_file(), VERSION)?;
        Ok(document.unwrap_or_default())
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PathBuf, BTreeSet<String>>)) -> Result<()> {
        let _lock = self.home.lock()?;
        let mut document = self.read()?;
        document.version = VERSION;
        change(&mut document.projects);
        write_json(&self.home.trust_file(), &document)
    }
}

/// The error for parts without an answer.
pub(crate) fn not_trusted(project: &Project, parts: &[HostPart]) -> Error {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    let path = project.directory().join(FILE_NAME);
    let message = format!("{} is not trusted: it {}", path.display(), parts.join("; "));
    Error::new(ErrorKind::Untrusted, message)
        .with_hint("review and allow it: `lxc-dev-manager trust`")
}

fn remote_part(project: &Project) -> Result<Parts> {
    let mut parts = Parts::default();
    if let Some(remote) = project.file().remote()? {
        parts.add(None, format!("uses the remote `{remote}`"), false);
    }
    Ok(parts)
}

/// Parts, each once with all its envs.
#[derive(Default)]
struct Parts(Vec<HostPart>);

impl Parts {
    fn add(&mut self, env: Option<&EnvName>, text: String, is_sensitive: bool) {
        let known = self.0.iter().position(|part| part.text == text);
        let index = known.unwrap_or_else(|| {
            self.0.push(HostPart {
                text,
                envs: Vec::new(),
                is_sensitive,
            });
            self.0.len() - 1
        });
        self.0[index].envs.extend(env.cloned());
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    struct TestHost(tempfile::TempDir);

    impl TestHost {
        /// A home with a project that has this file.
        fn new(text: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["me/.ssh", "me/data", "me/project/src", "outside"] {
                fs::create_dir_all(root.path().join(directory)).unwrap();
            }
            let host = Self(root);
            host.write(text);
            host
        }

        fn path(&self, below: &str) -> PathBuf {
            self.0.path().canonicalize().unwrap().join(below)
        }

        fn write(&self, text: &str) {
            fs::write(self.path("me/project").join(FILE_NAME), text).unwrap();
        }

        fn project(&self) -> Project {
            Project::open(&self.path("me/project")).unwrap()
        }

        fn trust(&self) -> Trust {
            let ssh = self.path("me/.ssh");
            Trust::new(Home::new(self.path("state"), None, Some(ssh)))
        }

        fn untrusted(&self) -> Vec<String> {
            let parts = self.trust().untrusted(&self.project()).unwrap();
            parts.iter().map(ToString::to_string).collect()
        }
    }

    #[test]
    fn file_that_stays_in_its_envs_needs_no_consent() {
        let host = TestHost::new(
            "project: a\ndefaults: {ports: [80], cpus: 2, nesting: docker}\ncontainers:\n  \
             dev: {setup: 'touch x', env: [], listen: {80: loopback}, wake: false, mounts: []}\n",
        );
        assert_eq!(host.untrusted(), [""; 0]);
        assert_eq!(host.untrusted(), [""; 0]);
        assert!(!host.path("state/trust.json").exists());
    }

    #[test]
    fn each_part_that_reaches_the_host_is_named() {
        let host = TestHost::new(
            "remote: lab\ndefaults: {wake: true}\ncontainers:\n  \
             dev: {env: [TOKEN], ports: [80], listen: {80: everywhere}, mounts: [{host: src, guest: /src}]}\n  \
             ci: {autostart: true, setup: ../data/up.sh, mounts: [{host: src, guest: /src}]}\n",
        );
        fs::write(host.path("me/data/up.sh"), "true\n").unwrap();
        let (src, script) = (host.path("me/project/src"), host.path("me/data/up.sh"));
        let mut expected = [
            "uses the remote `lab`".to_owned(),
            format!("mounts {} at /src, writable, in `dev`, `ci`", src.display()),
            "passes on the variable TOKEN in `dev`".to_owned(),
            "forwards port 80 at everywhere in `dev`".to_owned(),
            "starts at connections in `dev`, `ci`".to_owned(),
            format!("runs the script {} in `ci`", script.display()),
            "starts with the engine in `ci`".to_owned(),
        ];
        let mut untrusted = host.untrusted();
        untrusted.sort();
        expected.sort();
        assert_eq!(untrusted, expected);
        let dev = "dev".parse().unwrap();
        let error = host.trust().ensure(&host.project(), &dev, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted);
        assert!(host.trust().add(&host.project(), false).unwrap().is_empty());
        assert_eq!(host.untrusted(), [""; 0]);
        let mode = fs::metadata(host.path("state/trust.json"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(host.trust().remove(host.project().directory()).unwrap());
        assert!(!host.trust().remove(host.project().directory()).unwrap());
        assert_eq!(host.untrusted().len(), 7);
    }

    #[test]
    fn changed_part_is_asked_about_again_and_a_removed_one_is_not() {
        let file =
            |mounts: &str| format!("defaults: {{mounts: [{mounts}]}}\ncontainers: {{dev: }}\n");
        let data = "{host: ../data, guest: /data, readonly: true}";
        let host = TestHost::new(&file(data));
        host.trust().add(&host.project(), false).unwrap();
        assert_eq!(host.untrusted(), [""; 0]);
        host.write(&file(""));
        assert_eq!(host.untrusted(), [""; 0]);
        host.write(&file("{host: ../data, guest: /data}"));
        assert_eq!(host.untrusted().len(), 1);
        // The same words, behind another link.
        symlink(host.path("me/data"), host.path("me/project/link")).unwrap();
        host.write(&file("{host: link, guest: /data, readonly: true}"));
        assert_eq!(host.untrusted(), [""; 0]);
        fs::remove_file(host.path("me/project/link")).unwrap();
        symlink(host.path("outside"), host.path("me/project/link")).unwrap();
        assert_eq!(host.untrusted().len(), 1);
    }

    #[test]
    fn consent_is_to_what_was_shown() {
        let host = TestHost::new("containers: {dev: {env: [A, B]}}\n");
        let shown = host.untrusted();
        host.trust()
            .add_shown(&host.project(), &shown[..1])
            .unwrap();
        assert_eq!(host.untrusted(), shown[1..]);
        // The file has another part now than the one on the screen.
        host.write("containers: {dev: {env: [A, C]}}\n");
        let error = host.trust().add_shown(&host.project(), &shown[1..]);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(host.untrusted().len(), 1);
    }

    #[test]
    fn clone_and_rename_keep_the_consent() {
        let host = TestHost::new("containers: {dev: {mounts: [{host: src, guest: /src}]}}\n");
        host.trust().add(&host.project(), false).unwrap();
        host.write(
            "containers: {old: {mounts: [{host: src, guest: /src}]}, b: {mounts: [{host: src, guest: /src}]}}\n",
        );
        assert_eq!(host.untrusted(), [""; 0]);
    }

    #[test]
    fn defaults_count_without_an_env() {
        let host = TestHost::new("defaults: {mounts: [{host: ../data, guest: /d}]}\ncontainers:\n");
        assert_eq!(host.untrusted().len(), 1);
    }

    #[test]
    fn home_and_keys_need_force() {
        let host = TestHost::new(
            "containers: {dev: {mounts: [{host: ~, guest: /h, readonly: true}, {host: ~/.ssh, guest: /k, readonly: true}, \
             {host: src, guest: /s}]}}\n",
        );
        let left = host.trust().add(&host.project(), false).unwrap();
        assert_eq!(left.len(), 2);
        assert!(left.iter().all(|part| part.is_sensitive));
        assert_eq!(host.untrusted().len(), 2);
        assert!(host.trust().add(&host.project(), true).unwrap().is_empty());
        // Consent without force keeps what was allowed with it.
        assert!(host.trust().add(&host.project(), false).unwrap().is_empty());
    }

    #[test]
    fn control_characters_of_a_path_are_escaped() {
        let host =
            TestHost::new("containers: {dev: {mounts: [{host: \"a\\e[31m\", guest: /a}]}}\n");
        fs::create_dir(host.path("me/project/a\x1b[31m")).unwrap();
        let untrusted = host.untrusted();
        assert!(untrusted[0].contains("a\\u{1b}[31m"), "{untrusted:?}");
    }
}
