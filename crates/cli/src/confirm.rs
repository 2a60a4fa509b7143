//! Asking before something is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// Whether there is a terminal to ask on.
pub(crate) fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks on a terminal; without one it refuses.
///
/// # Errors
/// `NeedsConfirmation` without a terminal, `Cancelled` for any answer but yes.
pub(crate) fn ask(what_goes: &str, question: &str) -> Result<()> {
    if !can_ask() {
        return Err(Error::new(
            ErrorKind::NeedsConfirmation,
            format!("{what_goes} Nothing was done"),
        )
        .with_hint("there is no terminal to ask on: repeat it with `-f`"));
    }
    let mut err = io::stderr();
    let mut answer = String::new();
    let asked = write!(err, "{what_goes}\n{question} [y/N] ").and_then(|()| err.flush());
    asked
        .and_then(|()| io::stdin().lock().read_line(&mut answer))
        .map_err(|error| Error::io("cannot ask", error))?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Cancelled, "nothing was done"))
}
