//! Lima: one virtual machine per instance, driven by `limactl` and the files in `LIMA_HOME`.
//!
//! `limactl` creates, starts, stops, deletes and lists machines ([`limactl`], [`lifecycle`]). Status, routes and
//! events come from the files in their directories ([`machine`], [`events`]). Lima's own files are extended by a
//! record in each machine's directory and by `LIMA_HOME/.lxc-dev-manager` (snapshots, images, drafts). Commands,
//! files and ports use SSH in this process ([`guest`]). A disk can only be copied while nothing writes to it, so a
//! snapshot stops a running machine or freezes its file systems ([`snapshots`]), and reading a file of a stopped
//! machine starts it.

mod backend;
mod blocking;
mod copy;
mod diagnose;
mod draft_name;
mod errors;
mod events;
mod guest;
mod images;
mod instances;
mod json;
mod lifecycle;
mod limactl;
mod log_tail;
mod machine;
mod snapshots;
mod state_dir;

pub use backend::{Environment, Lima};
