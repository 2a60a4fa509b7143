//! What the app and its window have in common: their names, where they are, and how each begins.
//!
//! The desktop is two programs. The *app* (`src/app`) is engine room, tray and control socket, and
//! links no web view. The *window* (`src/window`) is one web view that talks to the app over the
//! control socket and ends when it is closed, so that a closed window costs nothing.

pub mod process;
pub mod programs;
