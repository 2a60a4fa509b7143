//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::{
    EnvName, GuestPort, ImageName, ProjectName, SnapshotName, UserName, parse_port_list,
};

/// Linux dev environments for each project.
#[derive(Debug, Parser)]
#[command(
    name = "lxc-dev-manager",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Run as if started in this directory
    #[arg(
        short = 'C',
        value_name = "DIR",
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) directory: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Say nothing but data and errors
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Colours
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN",
          help_heading = "Global options")]
    pub(crate) color: Color,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a project in this directory
    Create(CreateProject),
    /// Projects
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Envs of this project
    #[command(subcommand, visible_alias = "c")]
    Container(ContainerCommand),
    /// List the envs of this project
    #[command(visible_alias = "ls")]
    List(List),
    /// Start an env
    Up(EnvOnly),
    /// Stop an env
    Down(EnvOnly),
    /// Open a login shell in an env
    Ssh(Ssh),
    /// Run a command in an env
    Exec(Exec),
    /// Forward the ports of an env until Ctrl+C
    Proxy(EnvOnly),
    /// Take a snapshot of an env
    #[command(hide = true)]
    Snapshot(TakeSnapshot),
    /// Take back the last reset or removal
    Undo(Undo),
    /// Remove an env
    Remove(Remove),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make a project in this directory
    Create(CreateProject),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Make an env from an image
    Create(CreateEnv),
    /// Set an env back to a snapshot
    Reset(Reset),
    /// Snapshots of an env
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// List the envs of this project
    #[command(hide = true)]
    List(List),
    /// Start an env
    #[command(hide = true)]
    Up(EnvOnly),
    /// Stop an env
    #[command(hide = true)]
    Down(EnvOnly),
    /// Open a login shell in an env
    #[command(hide = true)]
    Ssh(Ssh),
    /// Forward the ports of an env until Ctrl+C
    #[command(hide = true)]
    Proxy(EnvOnly),
    /// Remove an env
    #[command(hide = true)]
    Remove(Remove),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take a snapshot
    Create(TakeSnapshot),
    /// List the snapshots
    List(EnvOnly),
    /// Delete a snapshot
    Delete(DeleteSnapshot),
}

#[derive(Debug, Args)]
pub(crate) struct CreateProject {
    /// Name of the project [default: the directory's name]
    #[arg(short, long)]
    pub(crate) name: Option<ProjectName>,
    /// Ports of its envs [default: 5173,8000,5432]
    #[arg(short, long, value_name = "PORTS", value_parser = ports)]
    pub(crate) ports: Option<Vec<Ports>>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateEnv {
    /// Name of the env
    pub(crate) name: EnvName,
    /// Image: a local alias, ubuntu:24.04, debian:12 … [default: what containers.yaml names]
    pub(crate) image: Option<ImageName>,
    /// Ports of this env, where they differ from the project's
    #[arg(short, long, value_name = "PORTS", value_parser = ports)]
    pub(crate) ports: Option<Vec<Ports>>,
}

#[derive(Debug, Args)]
pub(crate) struct EnvOnly {
    /// Name of the env
    pub(crate) name: EnvName,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The envs of all known projects
    #[arg(short, long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ssh {
    /// Name of the env
    pub(crate) name: EnvName,
    /// User in the env [default: the file's]
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
}

#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Name of the env
    pub(crate) name: EnvName,
    /// User in the env [default: the file's]
    #[arg(short, long)]
    pub(crate) user: Option<UserName>,
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
    /// Name of the env
    pub(crate) name: EnvName,
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// A list of ports as one value.
#[derive(Debug, Clone)]
pub(crate) struct Ports(pub(crate) Vec<GuestPort>);

impl Ports {
    /// All that were given, in one list.
    pub(crate) fn joined(lists: Option<Vec<Self>>) -> Option<Vec<GuestPort>> {
        let mut all: Vec<GuestPort> = Vec::new();
        for port in lists?.into_iter().flat_map(|list| list.0) {
            if !all.contains(&port) {
                all.push(port);
            }
        }
        Some(all)
    }
}

fn ports(text: &str) -> Result<Ports> {
    parse_port_list(text).map(Ports)
}
