//! What may be written on the command line: the commands here, their arguments by what they are about.

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
    /// Use this remote of the engine's own client (`lxc remote list`, `incus remote list`)
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
    /// Tell all about an env: limits, what it uses, addresses, snapshots
    Info(EnvOnly),
    /// Start envs; make those that only the file names
    Up(Up),
    /// Stop envs
    Down(Envs),
    /// Stop envs and start them again
    Restart(Envs),
    /// Open a login shell in an env
    Ssh(Ssh),
    /// Run a command in an env, or in several
    Exec(Exec),
    /// Copy files into envs, out of them, and between them
    #[command(visible_alias = "cp")]
    Mv(Mv),
    /// Forward the ports of envs until Ctrl+C, and give them the focus
    Proxy(Proxy),
    /// Forward the ports of every running env of all known projects until Ctrl+C
    Serve,
    /// Let an env have what comes to its ports and names nobody
    Focus(Focus),
    /// Tell what listens in envs, what is forwarded, and what is in the way
    Ports(ListPorts),
    /// Open a port of an env in the browser
    Open(Open),
    /// Give an env a port, or take one away
    #[command(subcommand)]
    Port(PortCommand),
    /// Take a snapshot of an env
    #[command(hide = true)]
    Snapshot(TakeSnapshot),
    /// Take back the last reset, removal or deletion of a project
    Undo(Undo),
    /// Give an env another name
    Rename(Rename),
    /// Remove envs
    #[command(visible_alias = "rm")]
    Remove(Remove),
    /// Images that envs are made from
    #[command(subcommand)]
    Image(ImageCommand),
    /// List the images with a name
    #[command(hide = true)]
    Images(ListImages),
    /// Templates that Lima's machines are made from
    #[command(subcommand)]
    Template(TemplateCommand),
    /// What the file says of envs that are there; what you prefer in all projects
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show the envs of this project as they change
    Watch(List),
    /// Print what changes, an event a line
    Events(List),
    /// Delete what undo has kept for three days, or all of it
    Gc(Gc),
    /// Look for what is the matter, and say what to do about it
    Doctor,
    /// Print a block for ~/.ssh/config, for editors and ssh itself
    SshConfig(EnvOnly),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the manual pages
    Man(Man),
    /// Connect stdin and stdout to a port of an env
    #[command(hide = true)]
    Dial(Dial),
    /// Print the public host keys of an env, for ssh
    #[command(hide = true)]
    HostKeys(HostKeys),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Make a project in this directory
    Create(CreateProject),
    /// Remove all envs of this project, and its file
    Delete(DeleteProject),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Make an env from an image
    Create(CreateEnv),
    /// Make an env as a copy of another
    Clone(CloneEnv),
    /// Set an env back to a snapshot
    Reset(Reset),
    /// Snapshots of an env
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
    /// List the snapshots
    List(EnvOnly),
    /// Delete a snapshot
    Delete(DeleteSnapshot),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Set limits, mounts, nesting and autostart as the file has them now
    Apply(Up),
    /// Show what you prefer, in all projects
    Show,
    /// Change what you prefer, in all projects
    Set(SetPreference),
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
pub(crate) struct DeleteProject {
    /// Don't ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// The envs of all known projects
    #[arg(short, long)]
    pub(crate) all: bool,
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
