//! Code shared by the app and its window.
//!
//! The desktop consists of two programs. The *app* (`src/app`) runs operations, tray and control socket, and links no
//! web view. The *window* (`src/window`) is a web view connected to the control socket; its process ends when it is
//! closed, so that a closed window uses no memory.

pub mod process;
pub mod programs;
