//! The programs of the house, and where they are.

use std::path::PathBuf;

use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// The command line.
pub const COMMAND_LINE: &str = "lxc-dev-manager";
/// The app: engine room, tray and control socket.
pub const APP: &str = "lxc-dev-manager-desktop";
/// The window.
pub const WINDOW: &str = "lxc-dev-manager-window";

/// One of them: beside this program, else in the directories of PATH.
///
/// # Errors
/// `NotFound` where it is in neither.
pub fn find(name: &str) -> Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.to_path_buf()));
    let places = beside.into_iter().chain(search_path());
    places
        .map(|place| place.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("`{name}` is neither beside this program nor in PATH"),
            )
            .with_hint("all programs of LXC Dev Manager belong into one directory")
        })
}

/// The directories of PATH.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
