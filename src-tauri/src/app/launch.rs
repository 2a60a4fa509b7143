//! What the app starts: terminals and the window. They live on their own, and may outlive the app.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::process::Command;

use crate::opengl;

/// A program with its arguments, as it is: no shell reads them.
pub(crate) fn command(program: &Path, arguments: &[String], directory: &Path) -> Command {
    command_of(program, arguments, directory, &|name| {
        std::env::var_os(name)
    })
}

fn command_of(
    program: &Path,
    arguments: &[String],
    directory: &Path,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Command {
    let mut command = std::process::Command::new(program);
    // No pipes: one whose reader ended with the app would end the program too.
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    opengl::give_back(&mut command, lookup);
    command.into()
}

/// Starts it. Its end is logged, and told to `at_end`.
///
/// # Errors
/// `Io` where it can't be started.
pub(crate) fn start(mut command: Command, at_end: impl FnOnce() + Send + 'static) -> Result<()> {
    let program = Path::new(command.as_std().get_program()).display();
    let program = program.to_string();
    let mut child = command.spawn().map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot start {program}")).caused_by(error)
    })?;
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn changed(set: &[&str]) -> Vec<(String, bool)> {
        let lookup = |name: &str| set.contains(&name).then(|| "1".into());
        let command = command_of(Path::new("/bin/true"), &[], Path::new("/"), &lookup);
        let name = |name: &OsStr| name.to_string_lossy().into_owned();
        let changes = command.as_std().get_envs();
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

    #[tokio::test]
    async fn arguments_are_not_read_by_a_shell_and_the_end_is_told() {
        let place = std::env::temp_dir();
        let (told, end) = tokio::sync::oneshot::channel();
        let arguments = ["$HOME; exit 1".to_owned()];
        let command = command(Path::new("/bin/true"), &arguments, &place);
        start(command, move || told.send(()).unwrap()).unwrap();
        end.await.unwrap();
        let missing = super::command(Path::new("/nowhere/true"), &[], &place);
        let error = start(missing, || {}).unwrap_err();
        assert!(error.to_string().contains("cannot start /nowhere/true"));
    }
}
