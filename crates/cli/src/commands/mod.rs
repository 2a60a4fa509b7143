//! The commands, one file each.

mod adopt;
mod clone;
mod config;
mod create_env;
mod create_project;
mod delete_project;
mod doctor;
mod documents;
mod exec;
mod focus;
mod gc;
mod image;
mod info;
mod list;
mod multi_env;
mod mv;
mod open;
mod port;
mod ports;
mod proxy;
mod remove;
mod rename;
mod reset;
mod sessions;
mod snapshot;
mod ssh_config;
mod template;
pub(crate) mod trust;
mod undo;
mod up_down;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tokio::runtime::Builder;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Cli, Command, ContainerCommand, ProjectCommand, SnapshotCommand};
use crate::context::Context;
use crate::output::{Printer, exit_code};

/// Exit code for failures of `exec` and `ssh` themselves, as opposed to the command's.
const EXEC_FAILED: u8 = 125;

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logging();
    let printer = Printer::new(&cli.global);
    let in_guest = matches!(
        cli.command,
        Command::Exec(_) | Command::Ssh(_) | Command::Container(ContainerCommand::Ssh(_))
    );
    match run(cli, &printer) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            printer.error(&error);
            ExitCode::from(if in_guest {
                EXEC_FAILED
            } else {
                exit_code(error.kind())
            })
        }
    }
}

/// Logs to stderr as set by `LDM_LOG` (`debug`, `lxc_dev_manager_core=debug,info`).
fn init_logging() {
    let filter = std::env::var("LDM_LOG").ok();
    let filter = filter.and_then(|filter| filter.parse::<Targets>().ok());
    let Some(filter) = filter else { return };
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(output.with_filter(filter))
        .init();
}

fn run(cli: Cli, printer: &Printer) -> Result<u8> {
    let forwards = matches!(
        cli.command,
        Command::Proxy(_) | Command::Serve | Command::Container(ContainerCommand::Proxy(_))
    );
    // Forwarding uses all processors; an engine call needs one thread.
    let mut builder = if forwards {
        Builder::new_multi_thread()
    } else {
        Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot start").caused_by(error))?;
    let result = runtime.block_on(async {
        let needs_trust = cli.command.needs_trust();
        let context = Context::new(&cli.global, printer.clone(), needs_trust).await?;
        dispatch(&context, cli.command).await
    });
    // A blocked read of stdin must not keep the process alive.
    runtime.shutdown_background();
    result
}

async fn dispatch(context: &Context, command: Command) -> Result<u8> {
    use Command as C;
    match command {
        C::Create(args) => create_project::run(context, args)?,
        C::Project(ProjectCommand::Create(args)) => create_project::run(context, args)?,
        C::Project(ProjectCommand::Delete(args)) => delete_project::run(context, args).await?,
        C::Container(command) => return container(context, command).await,
        C::List(args) => list::run(context, args).await?,
        C::Info(args) => info::run(context, args).await?,
        C::Up(args) => return up_down::up(context, args).await,
        C::Down(args) => return up_down::down(context, args).await,
        C::Restart(args) => return up_down::restart(context, args).await,
        C::Ssh(args) => return exec::ssh(context, args).await,
        C::Exec(args) => return exec::run(context, args).await,
        C::Mv(args) => return mv::run(context, args).await,
        C::Proxy(args) => proxy::run(context, args).await?,
        C::Serve => proxy::serve(context).await?,
        C::Focus(args) => focus::run(context, args).await?,
        C::Ports(args) => ports::run(context, args).await?,
        C::Open(args) => open::run(context, args).await?,
        C::Port(command) => port::run(context, command).await?,
        C::Snapshot(args) => snapshot::create(context, args).await?,
        C::Undo(args) => undo::run(context, args).await?,
        C::Rename(args) => rename::run(context, args).await?,
        C::Remove(args) => return remove::run(context, args).await,
        C::Image(command) => image::run(context, command).await?,
        C::Images(args) => image::list(context, args).await?,
        C::Template(command) => return template::run(context, command).await,
        C::Config(command) => return config::run(context, command).await,
        C::Watch(args) => watch::watch(context, args).await?,
        C::Events(args) => watch::events(context, args).await?,
        C::Trust(args) => trust::trust(context, &args)?,
        C::Adopt(args) => return adopt::run(context, args).await,
        C::Untrust => trust::untrust(context)?,
        C::Gc(args) => gc::run(context, args).await?,
        C::Doctor => return doctor::run(context).await,
        C::SshConfig(args) => ssh_config::run(context, args)?,
        C::Completions(args) => documents::completions(&args),
        C::Man(args) => documents::man(context, &args)?,
        C::EndForward(args) => exec::end_forward(context, args).await?,
        C::Dial(args) => ssh_config::dial(context, args).await?,
        C::HostKeys(args) => ssh_config::host_keys(context, args).await?,
    }
    Ok(0)
}

async fn container(context: &Context, command: ContainerCommand) -> Result<u8> {
    use ContainerCommand as C;
    match command {
        C::Create(args) => create_env::run(context, args).await?,
        C::Clone(args) => clone::run(context, args).await?,
        C::Reset(args) => reset::run(context, args).await?,
        C::Snapshot(SnapshotCommand::Create(args)) => snapshot::create(context, args).await?,
        C::Snapshot(SnapshotCommand::List(args)) => snapshot::list(context, args).await?,
        C::Snapshot(SnapshotCommand::Delete(args)) => snapshot::delete(context, args).await?,
        C::List(args) => list::run(context, args).await?,
        C::Up(args) => return up_down::up(context, args).await,
        C::Down(args) => return up_down::down(context, args).await,
        C::Ssh(args) => return exec::ssh(context, args).await,
        C::Proxy(args) => proxy::run(context, args).await?,
        C::Remove(args) => return remove::run(context, args).await,
    }
    Ok(0)
}
