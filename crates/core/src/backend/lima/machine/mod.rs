//! What the files and processes of a machine tell.

pub(crate) mod agent_log;
pub(crate) mod directory;
pub(crate) mod inspect;
pub(crate) mod pids;
pub(crate) mod process;
pub(crate) mod record;
pub(crate) mod settings;
