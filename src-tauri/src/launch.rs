//! What the app starts, and what it needs to be started.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// Name of the command line beside this program.
const CLI: &str = "lxc-dev-manager";
/// Argument that makes this program a window.
pub(crate) const WINDOW: &str = "window";

/// GTK ends the process where there is no display; say so before.
///
/// # Errors
/// Where there is none.
pub(crate) fn require_display(lookup: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<()> {
    let set = |name| lookup(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        bail!("there is no display: the app needs one, `lxc-dev-manager` works without");
    }
    Ok(())
}

/// This program.
pub(crate) fn this_program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("this program can't be found")
}

/// The command line: beside this program, else in the directories of PATH.
///
/// # Errors
/// `NotFound` where it is in neither.
pub(crate) fn command_line() -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.to_path_buf()));
    let places = beside.into_iter().chain(search_path());
    places
        .map(|place| place.join(CLI))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("`{CLI}` is neither beside the app nor in PATH"),
            )
            .with_hint("install the command line, or put it beside the app")
        })
}

/// The directories of PATH.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_display_it_says_so() {
        let none = |_: &str| None;
        assert!(require_display(&none).is_err() || !cfg!(target_os = "linux"));
        let one = |name: &str| (name == "WAYLAND_DISPLAY").then(|| "wayland-0".into());
        assert!(require_display(&one).is_ok());
    }
}
