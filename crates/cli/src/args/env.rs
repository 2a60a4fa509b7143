//! Arguments of the commands about envs.

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
    /// Image: a local alias, ubuntu:24.04, debian:12 … [default: what containers.yaml names]
    pub(crate) image: Option<ImageName>,
    /// Ports of this env, where they differ from the project's
    #[arg(short, long, value_name = "PORTS", value_parser = ports)]
    pub(crate) ports: Option<Vec<Ports>>,
    /// User in the env
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cpus: Option<u32>,
    /// Memory, 4GiB
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse)]
    pub(crate) memory: Option<ByteSize>,
    /// Size of the disk, 50GiB
    #[arg(long, value_name = "SIZE", value_parser = ByteSize::parse)]
    pub(crate) disk: Option<ByteSize>,
    /// Keep the env where its `setup:` fails, to look into it
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CloneEnv {
    /// Name of the env that is copied
    pub(crate) source: EnvName,
    /// Name of the copy
    pub(crate) name: EnvName,
    /// A snapshot of it, in place of its state of now
    #[arg(short, long)]
    pub(crate) snapshot: Option<SnapshotName>,
}

#[derive(Debug, Args)]
pub(crate) struct Envs {
    /// Names of envs, or patterns with `*` and `?`
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
    /// Don't ask where a terminal session is open
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Names of envs, or patterns with `*` and `?` [default: all that the file names]
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
}

#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// Its name until now
    pub(crate) name: EnvName,
    /// Its name from now on
    pub(crate) new: EnvName,
}

#[derive(Debug, Args)]
pub(crate) struct Mv {
    /// A path of this machine, or `NAME:PATH` in an env; NAME may be a pattern
    #[arg(allow_hyphen_values = true)]
    pub(crate) source: OsString,
    /// Where it goes
    #[arg(allow_hyphen_values = true)]
    pub(crate) target: OsString,
    /// Make the directory where it is missing, without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
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
    /// Let the env use the SSH agent of this machine meanwhile
    #[arg(short = 'A', long)]
    pub(crate) agent: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Name of the env, or a pattern with `*` and `?`
    pub(crate) name: EnvPattern,
    /// User in the env [default: the file's]
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
    /// Let the env use the SSH agent of this machine meanwhile
    #[arg(short = 'A', long)]
    pub(crate) agent: bool,
    /// The command and its arguments
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
    /// A line about it
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Refuse where a running env would be stopped for a moment (Lima)
    #[arg(long)]
    pub(crate) no_stop: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteSnapshot {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Name of the snapshot
    pub(crate) snapshot: SnapshotName,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reset {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Snapshot to go back to
    #[arg(default_value = "initial-state")]
    pub(crate) snapshot: SnapshotName,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Undo {
    /// Name of the env [default: the one that was reset or removed last]
    pub(crate) name: Option<EnvName>,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names of envs, or patterns with `*` and `?`
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<EnvPattern>,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}
