//! Linux dev environments per project: everything except the user interfaces.
//!
//! The library uses no terminal, current directory, environment variable or global; they are passed in.
//! ARCHITECTURE.md describes the modules.

pub mod assemble;
pub mod backend;
mod caller;
pub mod clock;
pub mod control;
pub mod error;
pub mod escape;
pub mod event;
pub mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod hex;
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
