//! No OpenGL for the app, which has nothing to draw.
//!
//! GDK starts GLX with its first look at an X display, and that loads Mesa and libLLVM: the app
//! alone then takes 54 MiB (PSS) instead of 21, and 0.2 s to start instead of 0.06. `GDK_GL=disable`
//! keeps GDK from it, but has to be there before GTK is, and no process changes its own environment
//! without unsafe code. So the app starts itself anew with it. Nothing that the app starts may
//! inherit it: a window draws with OpenGL.

use std::ffi::OsString;
use std::process::Command;

/// What GDK looks at.
const GDK_GL: &str = "GDK_GL";
/// Set beside it where it is ours and not the user's own wish.
const OURS: &str = "LDM_GDK_GL";

/// Replaces this process by itself without OpenGL, unless the user has said what GDK shall do.
/// Returns where there is nothing to do.
pub(crate) fn leave_out() {
    if !cfg!(target_os = "linux") || std::env::var_os(GDK_GL).is_some() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let error = match std::env::current_exe() {
        Ok(program) => Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(GDK_GL, "disable")
            .env(OURS, "1")
            .exec(),
        Err(error) => error,
    };
    tracing::debug!(%error, "OpenGL can't be left out");
}

/// Takes what we have set out of the environment of a program that the app starts.
pub(crate) fn give_back(command: &mut Command, lookup: &dyn Fn(&str) -> Option<OsString>) {
    if lookup(OURS).is_some() {
        command.env_remove(GDK_GL).env_remove(OURS);
    }
}
