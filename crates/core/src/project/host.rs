//! Values of a file that depend on the host: mounts and set-up scripts.

use std::path::Path;

use super::mounts::{self, Allowed};
use super::protect::protect;
use super::{Project, Setup};
use crate::backend::{Mount, Settings};
use crate::error::{Error, Result};
use crate::model::EnvName;

impl Project {
    /// The settings of an env's instance, without [`mount_owner`](Settings::mount_owner). `home` is the user's home, for
    /// `~` in mounts.
    ///
    /// # Errors
    /// Those of its parts; `Config` for a missing or forbidden mount.
    pub fn settings(&self, env: &EnvName, home: Option<&Path>) -> Result<Settings> {
        let file = self.file();
        let mounts = self.mounts(env, home)?;
        Ok(Settings {
            limits: file.limits(env)?,
            nesting: file.nesting(env)?,
            autostart: file.autostart(env),
            mounts: protect(&mounts, self.directory(), file.is_git_writable(env)?)?,
            mount_owner: None,
            native_ports: file.native_ports(env)?,
            rosetta: file.rosetta(env),
        })
    }

    /// The mounts that the file lists for an env.
    ///
    /// # Errors
    /// `Config` for a missing or forbidden one.
    pub(super) fn mounts(&self, env: &EnvName, home: Option<&Path>) -> Result<Vec<Mount>> {
        let allowed = Allowed {
            directory: self.directory(),
            home,
        };
        mounts::check(env, self.file().mount_entries(env), &allowed)
    }

    /// The set-up of a new env, if the file has one.
    ///
    /// # Errors
    /// `Config` for a missing file.
    pub fn setup(&self, env: &EnvName) -> Result<Option<Setup>> {
        let text = self.file().setup_text(env);
        let setup = text.map(|text| Setup::parse(text, self.directory()));
        setup
            .transpose()
            .map_err(|error: Error| error.context(format!("cannot use `setup:` of `{env}`")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::ErrorKind;
    use crate::project::FILE_NAME;

    fn project(text: &str) -> (tempfile::TempDir, Project) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(FILE_NAME), text).unwrap();
        let project = Project::open(directory.path()).unwrap();
        (directory, project)
    }

    fn dev() -> EnvName {
        "dev".parse().unwrap()
    }

    #[test]
    fn reads_settings_from_the_file() {
        let text = "defaults: {cpus: 2, mounts: [{host: ., guest: /work}]}\ncontainers:\n  \
            dev: {autostart: true, nesting: false, memory: 1GiB}\n  none: {mounts: []}\n";
        let (_directory, project) = project(text);
        let settings = project.settings(&dev(), None).unwrap();
        assert!(settings.autostart);
        assert_eq!(settings.limits.cpus, Some(2));
        assert_eq!(settings.mounts[0].host, project.directory());
        let none = project.settings(&"none".parse().unwrap(), None).unwrap();
        assert!(none.mounts.is_empty() && !none.autostart);
    }

    #[test]
    fn errors_name_the_env_and_the_mount() {
        let text = "containers: {dev: {mounts: [{host: missing, guest: /work}]}}\n";
        let (_directory, project) = project(text);
        let error = project.settings(&dev(), None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.report().message;
        assert!(
            message.contains("`dev`") && message.contains("/missing"),
            "{message}"
        );
    }

    #[test]
    fn setup_path_is_relative_to_the_project() {
        let (directory, project) = project("containers: {dev: {setup: ./up.sh}, none: }\n");
        let error = project.setup(&dev()).unwrap_err();
        assert!(error.report().message.contains("up.sh"), "{error:?}");
        fs::write(directory.path().join("up.sh"), "true\n").unwrap();
        let setup = project.setup(&dev()).unwrap().unwrap();
        assert_eq!(setup.read().unwrap(), b"true\n");
        assert_eq!(project.setup(&"none".parse().unwrap()).unwrap(), None);
    }
}
