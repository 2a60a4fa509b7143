//! The user's editor, by an argument vector: no shell sees `$VISUAL`, `$EDITOR` or the file's name.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;

use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

/// Variables that name it, in the order in which they count.
const VARIABLES: [&str; 2] = ["VISUAL", "EDITOR"];
/// The one that is everywhere, for terminals where no variable says which.
const USUAL: &str = "vi";
const HINT: &str = "say which: `EDITOR=nano lxc-dev-manager …`";

/// Opens a file in the editor and waits until the editor has ended.
///
/// # Errors
/// `NotFound` where there is none, `Config` for one that isn't well quoted, `Cancelled` where it ended
/// with a failure.
pub(crate) async fn edit(file: &Path) -> Result<()> {
    let words = words(
        |name| std::env::var_os(name),
        io::stdin().is_terminal() && io::stdout().is_terminal(),
    )?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "no editor is named").with_hint(HINT))?;
    // Ctrl+C is for the editor: from here on it no longer ends this process by itself.
    let _heard = signal(SignalKind::interrupt())
        .map_err(|error| Error::io("cannot listen for signals", error))?;
    let ended = Command::new(program)
        .args(arguments)
        .arg(file)
        .status()
        .await;
    let status = ended.map_err(|error| {
        let message = format!("the editor `{program}` can't be started");
        let kind = match error.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Error::new(kind, message).with_hint(HINT).caused_by(error)
    })?;
    if status.success() {
        return Ok(());
    }
    let message = format!("the editor `{program}` ended with {status}");
    Err(Error::new(ErrorKind::Cancelled, message))
}

/// The editor and its arguments; none where nothing names one and nobody could use it.
fn words(lookup: impl Fn(&str) -> Option<OsString>, on_terminal: bool) -> Result<Vec<String>> {
    let named = VARIABLES.iter().find_map(|name| {
        let value = lookup(name)?.to_string_lossy().trim().to_owned();
        (!value.is_empty()).then_some((name, value))
    });
    match named {
        Some((name, value)) => shlex::split(&value)
            .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
            .ok_or_else(|| {
                let message = format!("${name} can't be read: {value}");
                Error::new(ErrorKind::Config, message).with_hint("a quote isn't closed")
            }),
        None if on_terminal => Ok(vec![USUAL.to_owned()]),
        None => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(visual: Option<&str>, editor: Option<&str>, on_terminal: bool) -> Result<Vec<String>> {
        let lookup = |name: &str| match name {
            "VISUAL" => visual.map(OsString::from),
            "EDITOR" => editor.map(OsString::from),
            _ => None,
        };
        words(lookup, on_terminal)
    }

    #[test]
    fn it_is_the_users_with_its_arguments() {
        assert_eq!(
            of(Some("code --wait"), Some("nano"), false).unwrap(),
            ["code", "--wait"]
        );
        assert_eq!(of(Some(" "), Some("nano"), false).unwrap(), ["nano"]);
        assert_eq!(
            of(None, Some("'/opt/my editor' -n"), false).unwrap(),
            ["/opt/my editor", "-n"]
        );
        // A shell would do something with these.
        assert_eq!(
            of(None, Some("vi; `id` $(id) > x"), false).unwrap(),
            ["vi;", "`id`", "$(id)", ">", "x"]
        );
    }

    #[test]
    fn without_one_it_is_vi_where_somebody_can_use_it() {
        assert_eq!(of(None, None, true).unwrap(), ["vi"]);
        assert!(of(None, None, false).unwrap().is_empty());
        for bad in ["'vi", "''"] {
            let error = of(None, Some(bad), true).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{bad}");
        }
    }
}
