//! Starts terminals and the window. They may outlive the app.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::process::Command;

use crate::opengl;

/// Runs `$2…` with the descriptor limit `$1`, or without if it cannot be set.
const WITH_DESCRIPTORS: &str = r#"ulimit -S -n "$1" || :; shift; exec "$@""#;

/// A program to start.
pub(crate) struct Launch {
    program: PathBuf,
    command: Command,
}

impl Launch {
    /// Prepares a program. Its arguments are not parsed by a shell. `descriptors` is its descriptor limit, because some
    /// programs fail with a high one.
    pub(crate) fn new(
        program: &Path,
        arguments: &[String],
        directory: &Path,
        descriptors: Option<u64>,
    ) -> Self {
        let lookup = |name: &str| std::env::var_os(name);
        Self {
            program: program.to_path_buf(),
            command: command_of(program, arguments, directory, descriptors, &lookup).into(),
        }
    }

    /// Starts the program. `at_end` is called at its end.
    ///
    /// # Errors
    /// `Io` if it cannot be started.
    pub(crate) fn start(mut self, at_end: impl FnOnce() + Send + 'static) -> Result<()> {
        let program = self.program.display().to_string();
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot start {program}")).caused_by(error)
        };
        if !self.program.is_file() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let mut child = self.command.spawn().map_err(failed)?;
        tokio::spawn(async move {
            match child.wait().await {
                Ok(status) if status.success() => tracing::debug!(program, "ended"),
                Ok(status) => tracing::warn!(program, %status, "ended"),
                Err(error) => tracing::warn!(program, %error, "cannot wait for it"),
            }
            at_end();
        });
        Ok(())
    }
}

fn command_of(
    program: &Path,
    arguments: &[String],
    directory: &Path,
    descriptors: Option<u64>,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> std::process::Command {
    let mut command = match descriptors {
        Some(limit) => {
            let mut shell = std::process::Command::new("/bin/sh");
            let limit = limit.to_string();
            shell.args(["-c", WITH_DESCRIPTORS, "sh", &limit]);
            shell.arg(program);
            shell
        }
        None => std::process::Command::new(program),
    };
    // A pipe to this app would end the program with the app.
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    opengl::restore(&mut command, lookup);
    command
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn changed(set: &[&str]) -> Vec<(String, bool)> {
        let lookup = |name: &str| set.contains(&name).then(|| "1".into());
        let command = command_of(Path::new("/bin/true"), &[], Path::new("/"), None, &lookup);
        let name = |name: &OsStr| name.to_string_lossy().into_owned();
        let changes = command.get_envs();
        changes
            .map(|(variable, value)| (name(variable), value.is_some()))
            .collect()
    }

    #[test]
    fn launched_programs_do_not_inherit_gdk_gl() {
        let removed = |name: &str| (name.to_owned(), false);
        assert_eq!(
            changed(&["GDK_GL", "LDM_GDK_GL"]),
            [removed("GDK_GL"), removed("LDM_GDK_GL")]
        );
    }

    #[test]
    fn gdk_gl_of_the_user_is_inherited() {
        assert_eq!(changed(&["GDK_GL"]), []);
    }

    /// Runs a program to its end.
    async fn run(program: &str, arguments: &[String], directory: &Path, descriptors: Option<u64>) {
        let (ended, end) = tokio::sync::oneshot::channel();
        let launch = Launch::new(Path::new(program), arguments, directory, descriptors);
        launch.start(move || ended.send(()).unwrap()).unwrap();
        end.await.unwrap();
    }

    #[tokio::test]
    async fn arguments_are_literal_and_end_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["$HOME; exit 1".to_owned()];
        for descriptors in [None, Some(256)] {
            run("/usr/bin/touch", &arguments, directory.path(), descriptors).await;
            let file = directory.path().join("$HOME; exit 1");
            std::fs::remove_file(file).unwrap();
        }
        let missing = Launch::new(Path::new("/nowhere/true"), &[], directory.path(), Some(256));
        let error = missing.start(|| {}).unwrap_err();
        assert!(error.to_string().contains("cannot start /nowhere/true"));
    }

    #[tokio::test]
    async fn sets_the_descriptor_limit() {
        let directory = tempfile::tempdir().unwrap();
        let script = ["-c".to_owned(), "ulimit -S -n > limit".to_owned()];
        // Below any default limit.
        run("/bin/sh", &script, directory.path(), Some(200)).await;
        let limit = std::fs::read_to_string(directory.path().join("limit")).unwrap();
        assert_eq!(limit, "200\n");
    }
}
