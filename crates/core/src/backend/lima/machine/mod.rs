//! State of a machine: its files, processes and settings.

pub(crate) mod agent_log;
pub(crate) mod directory;
pub(crate) mod inspect;
pub(crate) mod pids;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod settings;
