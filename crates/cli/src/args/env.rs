//! Arguments of env commands.

use std::ffi::OsString;

use clap::Args;
use lxc_dev_manager_core::model::{
    ByteSize, EnvName, EnvPattern, ImageName, SnapshotName, UserName,
};

use super::{Ports, ports};

#[derive(Debug, Args)]
pub(crate) struct CreateEnv {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Image: local alias, debian:12, … [default: the file's]
    pub(crate) image: Option<ImageName>,
    /// Ports of the env [default: the project's]
    #[arg(short, long, value_name = "PORTS", value_parser = ports)]
    pub(crate) ports: Option<Vec<Ports>>,
    /// User in the env
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpus: Option<u32>,
    /// Memory limit, such as 4GiB
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse)]
    pub(crate) memory: Option<ByteSize>,
    /// Disk limit, such as 50GiB
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse)]
    pub(crate) disk: Option<ByteSize>,
    /// Keep the env if its `setup:` fails
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CloneEnv {
    /// Name of the source env
    pub(crate) source: EnvName,
    /// Name of the new env
    pub(crate) name: EnvName,
    /// Clone this snapshot instead of the current state
    #[arg(short, long)]
    pub(crate) snapshot: Option<SnapshotName>,
}

#[derive(Debug, Args)]
pub(crate) struct Envs {
    /// Env names or patterns (`*`, `?`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
    /// Do not ask if terminal sessions are open
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// Env names or patterns (`*`, `?`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Env names or patterns (`*`, `?`) [default: all]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Current name
    pub(crate) name: EnvName,
    /// New name
    pub(crate) new: EnvName,
}

#[derive(Debug, Args)]
pub(crate) struct Mv {
    /// Host path, or `NAME:PATH` in an env
    #[arg(allow_hyphen_values = true)]
    pub(crate) source: OsString,
    /// Host path, or `NAME:PATH`; NAME may be a pattern
    #[arg(allow_hyphen_values = true)]
    pub(crate) target: OsString,
    /// Create missing directories without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Limit of a copy out of an env
    #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = ByteSize::parse)]
    pub(crate) max: ByteSize,
}

#[derive(Debug, Args)]
pub(crate) struct EnvOnly {
    /// Name of the env
    pub(crate) name: EnvName,
}

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Name of the env
    pub(crate) name: EnvName,
    /// User in the env [default: the file's]
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
    /// Forward the SSH agent into the env
    #[arg(short = 'A', long)]
    pub(crate) agent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Env name or pattern (`*`, `?`)
    pub(crate) name: EnvPattern,
    /// User in the env [default: the file's]
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
    /// Forward the SSH agent into the env
    #[arg(short = 'A', long)]
    pub(crate) agent: bool,
    /// Command and arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TakeSnapshot {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Name of the snapshot
    pub(crate) snapshot: SnapshotName,
    /// Description of the snapshot
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Fail if the env would have to be stopped (Lima)
    #[arg(long)]
    pub(crate) no_stop: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteSnapshot {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Name of the snapshot
    pub(crate) snapshot: SnapshotName,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Name of the snapshot
    #[arg(default_value = "initial-state")]
    pub(crate) snapshot: SnapshotName,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Name of the env [default: last reset or removed]
    pub(crate) name: Option<EnvName>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Env names or patterns (`*`, `?`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}
