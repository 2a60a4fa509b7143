//! What the app starts: terminals and the window. They live on their own, and may outlive the app.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::process::Command;

use crate::opengl;

/// Runs `$2…` with no more descriptors than `$1`, in its own process. Where that can't be set it runs all the same.
const WITH_DESCRIPTORS: &str = r#"ulimit -S -n "$1" || :; shift; exec "$@""#;

/// A program that is to be started.
pub(crate) struct Launch {
    program: PathBuf,
    command: Command,
}

impl Launch {
    /// A program with its arguments, as it is: no shell reads them. `descriptors` is how many it may have, where that
    /// is less than we have: a program that counts on few fails where it gets one with a high number.
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

    /// Starts it. Its end is logged, and told to `at_end`.
    ///
    /// # Errors
    /// `Io` where it can't be started.
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
                Err(error) => tracing::warn!(program, %error, "its end can't be seen"),
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
        Some(most) => {
            let mut shell = std::process::Command::new("/bin/sh");
            let most = most.to_string();
            shell.args(["-c", WITH_DESCRIPTORS, "sh", &most]);
            shell.arg(program);
            shell
        }
        None => std::process::Command::new(program),
    };
    // No pipes: one whose reader ended with the app would end the program too.
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    opengl::give_back(&mut command, lookup);
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
    fn nothing_that_is_started_inherits_our_way_without_opengl() {
        let removed = |name: &str| (name.to_owned(), false);
        assert_eq!(
            changed(&["GDK_GL", "LDM_GDK_GL"]),
            [removed("GDK_GL"), removed("LDM_GDK_GL")]
        );
    }

    #[test]
    fn what_the_user_has_set_is_passed_on() {
        assert_eq!(changed(&["GDK_GL"]), []);
    }

    /// What is started in this directory has ended.
    async fn run(program: &str, arguments: &[String], place: &Path, descriptors: Option<u64>) {
        let (told, end) = tokio::sync::oneshot::channel();
        let launch = Launch::new(Path::new(program), arguments, place, descriptors);
        launch.start(move || told.send(()).unwrap()).unwrap();
        end.await.unwrap();
    }

    #[tokio::test]
    async fn arguments_are_not_read_by_a_shell_and_the_end_is_told() {
        let place = tempfile::tempdir().unwrap();
        let arguments = ["$HOME; exit 1".to_owned()];
        for descriptors in [None, Some(256)] {
            run("/usr/bin/touch", &arguments, place.path(), descriptors).await;
            let file = place.path().join("$HOME; exit 1");
            std::fs::remove_file(file).unwrap();
        }
        let missing = Launch::new(Path::new("/nowhere/true"), &[], place.path(), Some(256));
        let error = missing.start(|| {}).unwrap_err();
        assert!(error.to_string().contains("cannot start /nowhere/true"));
    }

    #[tokio::test]
    async fn what_is_started_may_have_as_many_descriptors_as_it_is_told() {
        let place = tempfile::tempdir().unwrap();
        let script = ["-c".to_owned(), "ulimit -S -n > limit".to_owned()];
        // Fewer than anybody is given who logs in.
        run("/bin/sh", &script, place.path(), Some(200)).await;
        let limit = std::fs::read_to_string(place.path().join("limit")).unwrap();
        assert_eq!(limit, "200\n");
    }
}
