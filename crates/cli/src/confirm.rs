//! Confirmation before data is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// Whether stdin and stderr are terminals.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for confirmation.
///
/// # Errors
/// `NeedsConfirmation` without a terminal, `Cancelled` for any answer but yes.
pub(crate) fn ask(losses: &str, question: &str) -> Result<()> {
    if !can_ask() {
        return Err(Error::new(
            ErrorKind::NeedsConfirmation,
            format!("{losses} Nothing was changed"),
        )
        .with_hint("no terminal for confirmation: repeat with `-f`"));
    }
    let mut err = io::stderr();
    let mut answer = String::new();
    let asked = write!(err, "{losses}\n{question} [y/N] ").and_then(|()| err.flush());
    asked
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Error::io("cannot ask for confirmation", error))?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Cancelled, "nothing was changed"))
}
