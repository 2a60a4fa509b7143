//! Linux dev environments for each project: everything but screens.
//!
//! The library touches no terminal, no current directory, no environment variable and no global:
//! they are passed in. ARCHITECTURE.md shows how the rooms hang together.

pub mod assemble;
pub mod backend;
pub mod clock;
pub mod control;
pub mod error;
pub mod event;
pub mod forward;
pub mod home;
pub mod image_names;
mod local_tcp;
pub mod model;
pub mod operations;
pub mod preferences;
pub mod project;
pub mod provision;
pub mod proxy;
pub mod template;
pub mod terminal;
pub mod view;
pub mod watch;

pub use error::{Error, ErrorKind, ErrorReport, Result};
