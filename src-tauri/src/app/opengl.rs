//! Disables OpenGL for the app, which draws nothing.
//!
//! GDK initialises GLX when it opens an X display, which loads Mesa and libLLVM: 54 MiB (PSS) instead of 21, and 0.2 s
//! start time instead of 0.06. `GDK_GL=disable` prevents that, but must be set before GTK starts, and changing the own
//! environment needs unsafe code. So the app executes itself again with it. Launched programs must not inherit it: the
//! window draws with OpenGL.

use std::ffi::OsString;
use std::process::Command;

const GDK_GL: &str = "GDK_GL";
/// Marks `GDK_GL` as set by this app rather than by the user.
const MARKER: &str = "LDM_GDK_GL";

/// Executes the app again without OpenGL, unless the user set `GDK_GL`. Returns if there is nothing to do.
pub(crate) fn disable() {
    if !cfg!(target_os = "linux") || std::env::var_os(GDK_GL).is_some() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(GDK_GL, "disable")
            .env(MARKER, "1")
            .exec(),
        Err(error) => error,
    };
    tracing::debug!(%error, "cannot disable OpenGL");
}

/// Removes the variables of this app from the environment of a launched program.
pub(crate) fn restore(command: &mut Command, lookup: &dyn Fn(&str) -> Option<OsString>) {
    if lookup(MARKER).is_some() {
        command.env_remove(GDK_GL).env_remove(MARKER);
    }
}
