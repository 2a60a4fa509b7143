//! Paths of the programs of LXC Dev Manager.

use std::path::PathBuf;

use lxc_dev_manager_core::{Error, ErrorKind, Result};

/// The command line.
pub const COMMAND_LINE: &str = "lxc-dev-manager";
/// The app: operations, tray and control socket.
pub const APP: &str = "lxc-dev-manager-desktop";
/// The window.
pub const WINDOW: &str = "lxc-dev-manager-window";

/// Finds a program next to this one, or in PATH.
///
/// # Errors
/// `NotFound` if it is in neither.
pub fn find(name: &str) -> Result<PathBuf> {
    let own_directory = std::env::current_exe()
        .ok()
        .and_then(|path| Some(path.parent()?.to_path_buf()));
    let directories = own_directory.into_iter().chain(search_path());
    directories
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("`{name}` is neither next to this program nor in PATH"),
            )
            .with_hint("install all programs of LXC Dev Manager in one directory")
        })
}

/// The directories of PATH.
pub fn search_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}
