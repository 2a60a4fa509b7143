//! The command line: commands here, their arguments in the submodules.

mod env;
mod image;
mod other;
mod ports;
mod template;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::{GuestPort, ProjectName, RemoteName, parse_port_list};

pub(crate) use env::{
    CloneEnv, CreateEnv, DeleteSnapshot, EnvOnly, Envs, Exec, Mv, Remove, Rename, Reset, Ssh,
    TakeSnapshot, Undo, Up,
};
pub(crate) use image::{
    CreateImage, DeleteImage, ExportImage, ImageCommand, ImportImage, ListImages, OneImage,
    RenameImage,
};
pub(crate) use other::{Completions, Dial, Gc, HostKeys, Man, SetPreference};
pub(crate) use ports::{EditPort, Focus, ListPorts, Open, PortCommand, Proxy, ReleasePort};
pub(crate) use template::{
    DeleteTemplate, ExportTemplate, NewTemplate, OneTemplate, TemplateCommand, ValidateTemplates,
};

/// Manage Linux dev environments for each project.
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

/// Global options.
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
    /// Use this remote of the `lxc` or `incus` client
    #[arg(
        long,
        value_name = "NAME",
        global = true,
        help_heading = "Global options"
    )]
    pub(crate) remote: Option<RemoteName>,
    /// Print data as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Suppress status messages
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
    /// Use colours
    #[arg(long, value_enum, default_value_t = Color::Auto, global = true, value_name = "WHEN",
          help_heading = "Global options")]
    pub(crate) color: Color,
}

/// Use of colours.
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
    /// Create a project in this directory
    Create(CreateProject),
    /// Manage projects
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Manage the envs of this project
    #[command(subcommand, visible_alias = "c")]
    Container(ContainerCommand),
    /// List the envs of this project
    #[command(visible_alias = "ls")]
    List(List),
    /// Show limits, usage, addresses and snapshots of an env
    Info(EnvOnly),
    /// Start envs; create those that exist only in the file
    Up(Up),
    /// Stop envs
    Down(Envs),
    /// Restart envs
    Restart(Envs),
    /// Open a login shell in an env
    Ssh(Ssh),
    /// Run a command in one or more envs
    Exec(Exec),
    /// Copy files into, out of and between envs
    #[command(visible_alias = "cp")]
    Mv(Mv),
    /// Forward the ports of envs until Ctrl+C
    Proxy(Proxy),
    /// Forward the ports of all running envs until Ctrl+C
    Serve,
    /// Make an env the default target of its ports
    Focus(Focus),
    /// Show listening services, forwards and port conflicts
    Ports(ListPorts),
    /// Open a port of an env in the browser
    Open(Open),
    /// Add, remove and release ports
    #[command(subcommand)]
    Port(PortCommand),
    /// Take a snapshot of an env
    #[command(hide = true)]
    Snapshot(TakeSnapshot),
    /// Undo the last reset, removal or project deletion
    Undo(Undo),
    /// Rename an env
    Rename(Rename),
    /// Remove envs
    #[command(visible_alias = "rm")]
    Remove(Remove),
    /// Manage the images that envs are created from
    #[command(subcommand)]
    Image(ImageCommand),
    /// List named images
    #[command(hide = true)]
    Images(ListImages),
    /// Manage the templates of Lima machines
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Apply the file to existing envs; manage preferences
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the envs of this project and update on changes
    Watch(List),
    /// Print changes, one event per line
    Events(List),
    /// Delete expired undo copies, or all of them
    Gc(Gc),
    /// Diagnose problems and suggest fixes
    Doctor,
    /// Print a block for ~/.ssh/config
    SshConfig(EnvOnly),
    /// Print shell completions
    Completions(Completions),
    /// Write manual pages
    Man(Man),
    /// Connect stdin and stdout to a port of an env
    #[command(hide = true)]
    Dial(Dial),
    /// Print the SSH host keys of an env
    #[command(hide = true)]
    HostKeys(HostKeys),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Create a project in this directory
    Create(CreateProject),
    /// Delete this project: its envs and its file
    Delete(DeleteProject),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Create an env from an image
    Create(CreateEnv),
    /// Clone an env
    Clone(CloneEnv),
    /// Restore an env to a snapshot
    Reset(Reset),
    /// Manage the snapshots of an env
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// List the envs of this project
    #[command(hide = true)]
    List(List),
    /// Start envs
    #[command(hide = true)]
    Up(Up),
    /// Stop envs
    #[command(hide = true)]
    Down(Envs),
    /// Open a login shell in an env
    #[command(hide = true)]
    Ssh(Ssh),
    /// Forward the ports of an env until Ctrl+C
    #[command(hide = true)]
    Proxy(Proxy),
    /// Remove envs
    #[command(hide = true)]
    Remove(Remove),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take a snapshot
    Create(TakeSnapshot),
    /// List snapshots
    List(EnvOnly),
    /// Delete a snapshot
    Delete(DeleteSnapshot),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Apply limits, mounts, nesting and autostart from the file
    Apply(Up),
    /// Show preferences
    Show,
    /// Set a preference
    Set(SetPreference),
}

#[derive(Debug, Args)]
pub(crate) struct CreateProject {
    /// Name of the project [default: the directory's name]
    #[arg(short, long)]
    pub(crate) name: Option<ProjectName>,
    /// Ports of the envs [default: 5173,8000,5432]
    #[arg(short, long, value_name = "PORTS", value_parser = ports)]
    pub(crate) ports: Option<Vec<Ports>>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteProject {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Include all known projects
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// A list of ports as one argument.
#[derive(Debug, Clone)]
pub(crate) struct Ports(pub(crate) Vec<GuestPort>);

impl Ports {
    /// Joins lists and drops duplicates.
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
