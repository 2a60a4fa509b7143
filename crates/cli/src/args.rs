//! The command line: commands here, their arguments in the submodules.

mod env;
mod image;
mod other;
mod ports;
mod template;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::{
    GuestPort, OperationId, ProjectName, RemoteName, parse_port_list,
};

pub(crate) use env::{
    Adopt, CloneEnv, CreateEnv, DeleteSnapshot, EnvOnly, Envs, Exec, Mv, Remove, Rename, Reset,
    Ssh, TakeSnapshot, Undo, Up,
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
    ///
    /// Writes containers.yaml, unless it exists.
    Create(CreateProject),
    /// Manage projects
    #[command(subcommand)]
    Project(ProjectCommand),
    /// Manage the envs of this project
    #[command(subcommand, visible_alias = "c")]
    Container(ContainerCommand),
    /// List the envs of this project
    ///
    /// A project becomes known with the first command in it.
    #[command(visible_alias = "ls")]
    List(List),
    /// Show limits, usage, addresses and snapshots of an env
    Info(EnvOnly),
    /// Start envs; create those that exist only in the file
    ///
    /// Waits for their addresses. An env that `down` stopped starts again only with this command.
    Up(Up),
    /// Stop envs
    ///
    /// An env that does not stop within 30 seconds is killed, with a message.
    Down(Envs),
    /// Restart envs
    ///
    /// An env that does not stop within 30 seconds is killed, with a message.
    Restart(Envs),
    /// Open a login shell in an env
    ///
    /// The shell runs through the engine and needs no network. `-A` is not available at remotes and
    /// with Lima.
    Ssh(Ssh),
    /// Run a command in one or more envs
    ///
    /// The command runs in the user's home. Streams, signals and the window size pass through. A
    /// pattern runs it in all matching envs, without input: each line of output starts with the
    /// env's name, and the exit code is the highest.
    Exec(Exec),
    /// Copy files into, out of and between envs
    ///
    /// The source stays. Relative paths in an env start in its user's home. A target directory that
    /// exists receives the source under its own name.
    #[command(visible_alias = "cp")]
    Mv(Mv),
    /// Forward the ports of envs until Ctrl+C
    ///
    /// The env becomes the default target of its ports.
    Proxy(Proxy),
    /// Forward the ports of all running envs until Ctrl+C
    Serve,
    /// Make an env the default target of its ports
    ///
    /// Connections that name no env reach the default target.
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
    ///
    /// Restores a deleted project in its directory.
    Undo(Undo),
    /// Rename an env
    ///
    /// In the engine, the file, the env itself and undo. A running env is restarted.
    Rename(Rename),
    /// Remove envs
    ///
    /// Removes them from the engine and the file.
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
    ///
    /// Without a terminal like `events`.
    Watch(List),
    /// Print changes, one event per line
    Events(List),
    /// Allow what the project's file does to this machine
    ///
    /// Needed for mounts, set-up scripts outside the project, `env`, `listen`, `remote`, `wake` and `autostart`, and
    /// after each change of them.
    Trust(TrustArgs),
    /// Make existing instances envs of this project
    ///
    /// For those that the file lists, but that were created by another program or by hand.
    Adopt(Adopt),
    /// Withdraw `trust`
    Untrust,
    /// Delete expired undo copies, or all of them
    ///
    /// Includes copies that exceed `undo.max_share`. `--all` also deletes the snapshots of machines
    /// that `limactl delete` has deleted.
    Gc(Gc),
    /// Diagnose problems and suggest fixes
    ///
    /// Recovers interrupted operations; checks engines, storage, network, firewall and the
    /// program's own state.
    Doctor,
    /// Print a block for ~/.ssh/config
    ///
    /// With the env's host keys from the engine, and the variables that select engine or state, if
    /// they are set.
    SshConfig(EnvOnly),
    /// Print shell completions
    Completions(Completions),
    /// Write manual pages
    Man(Man),
    /// Wait for the end of a socket forward, and end it if its owner was killed
    #[command(hide = true)]
    EndForward(EndForward),
    /// Connect stdin and stdout to a port of an env
    #[command(hide = true)]
    Dial(Dial),
    /// Print the SSH host keys of an env
    #[command(hide = true)]
    HostKeys(HostKeys),
}

impl Command {
    /// Whether it uses what a project's file does to the host.
    pub(crate) fn needs_trust(&self) -> bool {
        use ContainerCommand as C;
        match self {
            Self::Container(command) => {
                matches!(command, C::Create(_) | C::Up(_) | C::Ssh(_) | C::Proxy(_))
            }
            Self::Config(command) => matches!(command, ConfigCommand::Apply(_)),
            Self::Up(_) | Self::Restart(_) | Self::Ssh(_) | Self::Exec(_) | Self::Proxy(_) => true,
            _ => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProjectCommand {
    /// Create a project in this directory
    Create(CreateProject),
    /// Delete this project: its envs and its file
    ///
    /// Envs that another existing directory has created stay.
    Delete(DeleteProject),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Create an env from an image
    ///
    /// Sets up its user and SSH, runs `setup:` and takes the snapshot `initial-state`. Options are
    /// written to the file.
    Create(CreateEnv),
    /// Clone an env
    ///
    /// Clones its current state (Lima: of a stopped env) or a snapshot, and starts the clone. It
    /// has its own hostname, machine ID, host keys, hardware address and `initial-state`.
    Clone(CloneEnv),
    /// Restore an env to a snapshot
    ///
    /// A running env is started again, a stopped one stays stopped.
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
    ///
    /// Lima stops a running env for it.
    Create(TakeSnapshot),
    /// List snapshots
    List(EnvOnly),
    /// Delete a snapshot
    ///
    /// `initial-state` cannot be deleted.
    Delete(DeleteSnapshot),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Apply limits, mounts, nesting and autostart from the file
    ///
    /// Running envs change, too.
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
pub(crate) struct EndForward {
    pub(crate) id: OperationId,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Show these parts of the file instead
    #[arg(long, conflicts_with = "force")]
    pub(crate) show: bool,
    /// Include your home, its hidden directories, and others
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
