//! The user's editor, started without a shell.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Variables in order of precedence.
const VARIABLES: [&str; 2] = ["VISUAL", "EDITOR"];
/// Default on terminals.
const DEFAULT_EDITOR: &str = "vi";
const HINT: &str = "set one: `EDITOR=nano lxc-dev-manager …`";

/// Opens a file in the editor and waits for it to exit.
///
/// # Errors
/// `NotFound` without an editor, `Config` for invalid quoting, `Cancelled` if it fails.
pub(crate) async fn edit(file: &Path) -> Result<()> {
    let words = editor_command(
        |name| std::env::var_os(name),
        io::stdin().is_terminal() && io::stdout().is_terminal(),
    )?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "no editor is set").with_hint(HINT))?;
    // Ctrl+C is for the editor. From here on it no longer ends this process.
    let _interrupts = signal(SignalKind::interrupt())
        .map_err(|error| Error::io("cannot listen for signals", error))?;
    let result = Command::new(program)
        .args(arguments)
        .arg(file)
        .status()
        .await;
    let status = result.map_err(|error| {
        let message = format!("cannot start editor `{program}`");
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, message).with_hint(HINT).caused_by(error)
    })?;
    if status.success() {
        return Ok(());
    }
    let message = format!("editor `{program}` failed: {status}");
    Err(Error::new(ErrorKind::Cancelled, message))
}

/// Returns the editor and its arguments. Empty without a variable and without a terminal.
fn editor_command(
    lookup: impl Fn(&str) -> Option<OsString>,
    on_terminal: bool,
) -> Result<Vec<String>> {
    let variable = VARIABLES.iter().find_map(|name| {
        let value = lookup(name)?.to_string_lossy().trim().to_owned();
        (!value.is_empty()).then_some((name, value))
    });
    match variable {
        Some((name, value)) => shlex::split(&value)
            .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
            .ok_or_else(|| {
                let message = format!("invalid value of ${name}: {value}");
                Error::new(ErrorKind::Config, message).with_hint("close the quote")
            }),
        None if on_terminal => Ok(vec![DEFAULT_EDITOR.to_owned()]),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(
        visual: Option<&str>,
        editor: Option<&str>,
        on_terminal: bool,
    ) -> Result<Vec<String>> {
        let lookup = |name: &str| match name {
            "VISUAL" => visual.map(OsString::from),
            "EDITOR" => editor.map(OsString::from),
            _ => None,
        };
        editor_command(lookup, on_terminal)
    }

    #[test]
    fn uses_the_editor_variables_without_a_shell() {
        assert_eq!(
            command(Some("code --wait"), Some("nano"), false).unwrap(),
            ["code", "--wait"]
        );
        assert_eq!(command(Some(" "), Some("nano"), false).unwrap(), ["nano"]);
        assert_eq!(
            command(None, Some("'/opt/my editor' -n"), false).unwrap(),
            ["/opt/my editor", "-n"]
        );
        assert_eq!(
            command(None, Some("vi; `id` $(id) > x"), false).unwrap(),
            ["vi;", "`id`", "$(id)", ">", "x"]
        );
    }

    #[test]
    fn defaults_to_vi_on_terminals_only() {
        assert_eq!(command(None, None, true).unwrap(), ["vi"]);
        assert!(command(None, None, false).unwrap().is_empty());
        for bad in ["'vi", "''"] {
            let error = command(None, Some(bad), true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
        }
    }
}
