//! Arguments of port commands.

use clap::{Args, Subcommand};
use lxc_dev_manager_core::model::{EnvName, EnvPattern, GuestPort, HostPort};

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Env names or patterns (`*`, `?`); `*`: all running envs
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Focus {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Only this port, even while connections are open
    pub(crate) port: Option<GuestPort>,
    /// Reset connections to the previous default target
    #[arg(long)]
    pub(crate) cut: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListPorts {
    /// Env names or patterns (`*`, `?`) [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Port in the env [default: the first one]
    pub(crate) port: Option<GuestPort>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PortCommand {
    /// Add a port to an env
    ///
    /// Changes `ports:` of the file; active forwards change at once.
    Add(EditPort),
    /// Remove a port from an env
    ///
    /// Changes `ports:` of the file; active forwards change at once.
    #[command(visible_alias = "rm")]
    Remove(EditPort),
    /// Stop listening on a host port
    ///
    /// Until the next `proxy`.
    Release(ReleasePort),
}

#[derive(Debug, Args)]
pub(crate) struct EditPort {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Port in the env
    pub(crate) port: GuestPort,
}

#[derive(Debug, Args)]
pub(crate) struct ReleasePort {
    /// Host port
    pub(crate) port: HostPort,
}
