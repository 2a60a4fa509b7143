//! Arguments of the commands about ports.

use clap::{Args, Subcommand};
use lxc_dev_manager_core::model::{EnvName, EnvPattern, GuestPort, HostPort};

#[derive(Debug, Args)]
pub(crate) struct Proxy {
    /// Names of envs, or patterns with `*` and `?`; `*` is every env of this project that runs
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Focus {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Only this port; one that is named moves whatever is connected
    pub(crate) port: Option<GuestPort>,
    /// Reset the connections to the env that had the focus
    #[arg(long)]
    pub(crate) cut: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListPorts {
    /// Names of envs, or patterns with `*` and `?` [default: all of this project]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Port in the env [default: its first]
    pub(crate) port: Option<GuestPort>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PortCommand {
    /// Give an env a port: it stands in the file, and is forwarded at once if its others are
    Add(EditPort),
    /// Take a port from an env
    #[command(visible_alias = "rm")]
    Remove(EditPort),
    /// Stop listening on a port of this machine, for something else that wants it
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
    /// Port of this machine
    pub(crate) port: HostPort,
}
