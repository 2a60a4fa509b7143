//! LXD and Incus over their REST API.
//!
//! One implementation for both: they share paths and JSON, and `api_extensions` decide where they
//! differ, not the version. Every request opens its own connection (a Unix socket takes
//! microseconds), so an engine's restart needs no recovery.
//! Format: <https://documentation.ubuntu.com/lxd/latest/api/>,
//! <https://linuxcontainers.org/incus/docs/main/api/>.
//!
//! Deliberately absent: the engines' command-line tools. No process is started.

mod backend;
mod client;
mod client_config;
mod diagnose;
mod dial;
mod events;
mod exec;
mod files;
mod idmap;
mod ignore_write_errors;
mod image;
mod images;
mod instances;
mod list_brief;
mod locate;
mod operation;
mod ports;
mod remotes;
mod replay;
mod restrictions;
mod retry;
mod snapshots;
mod storage;
mod tls;
mod transport;
mod wire;

pub use backend::LxcBackend;
pub use locate::{EngineVariables, HostEnvironment};
pub use remotes::LxcRemotes;
#[cfg(feature = "fuzzing")]
pub use wire::read_json;
