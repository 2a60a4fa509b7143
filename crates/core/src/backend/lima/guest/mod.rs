//! Access to a guest: SSH sessions, commands, files and ports.

pub(crate) mod connection;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod route;
pub(crate) mod session_pool;
