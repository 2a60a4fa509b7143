//! The commands, one file each.

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

/// Our own failures of `exec` and `ssh`, as against the command's.
const EXEC_FAILED: u8 = 125;

/// Parses, runs and renders.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    log();
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

/// Logs what `LDM_LOG` asks for (`debug`, `lxc_dev_manager_core=debug,info`), to stderr.
fn log() {
    let wanted = std::env::var("LDM_LOG").ok();
    let wanted = wanted.and_then(|wanted| wanted.parse::<Targets>().ok());
    let Some(wanted) = wanted else { return };
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(output.with_filter(wanted))
        .init();
}

fn run(cli: Cli, printer: &Printer) -> Result<u8> {
    let forwards = matches!(
        cli.command,
        Command::Proxy(_) | Command::Serve | Command::Container(ContainerCommand::Proxy(_))
    );
    // Bytes on their way use every processor; one call of an engine needs one.
    let mut builder = match forwards {
        true => Builder::new_multi_thread(),
        false => Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot start").caused_by(error))?;
    let result = runtime.block_on(async {
        let context = Context::new(&cli.global, printer.clone()).await?;
        dispatch(&context, cli.command).await
    });
    // A read of stdin may still wait in its thread; it must not hold the process.
    runtime.shutdown_background();
    result
}

async fn dispatch(context: &Context, command: Command) -> Result<u8> {
    use Command as O;
    match command {
        O::Create(args) => create_project::run(context, args)?,
        O::Project(ProjectCommand::Create(args)) => create_project::run(context, args)?,
        O::Project(ProjectCommand::Delete(args)) => delete_project::run(context, args).await?,
        O::Container(command) => return container(context, command).await,
        O::List(args) => list::run(context, args).await?,
        O::Info(args) => info::run(context, args).await?,
        O::Up(args) => return up_down::up(context, args).await,
        O::Down(args) => return up_down::down(context, args).await,
        O::Restart(args) => return up_down::restart(context, args).await,
        O::Ssh(args) => return exec::ssh(context, args).await,
        O::Exec(args) => return exec::run(context, args).await,
        O::Mv(args) => return mv::run(context, args).await,
        O::Proxy(args) => proxy::run(context, args).await?,
        O::Serve => proxy::serve(context).await?,
        O::Focus(args) => focus::run(context, args).await?,
        O::Ports(args) => ports::run(context, args).await?,
        O::Open(args) => open::run(context, args).await?,
        O::Port(command) => port::run(context, command).await?,
        O::Snapshot(args) => snapshot::create(context, args).await?,
        O::Undo(args) => undo::run(context, args).await?,
        O::Rename(args) => rename::run(context, args).await?,
        O::Remove(args) => return remove::run(context, args).await,
        O::Image(command) => image::run(context, command).await?,
        O::Images(args) => image::list(context, args).await?,
        O::Template(command) => return template::run(context, command).await,
        O::Config(command) => return config::run(context, command).await,
        O::Watch(args) => watch::watch(context, args).await?,
        O::Events(args) => watch::events(context, args).await?,
        O::Gc(args) => gc::run(context, args).await?,
        O::Doctor => return doctor::run(context).await,
        O::SshConfig(args) => ssh_config::run(context, args)?,
        O::Completions(args) => documents::completions(&args),
        O::Man(args) => documents::man(context, &args)?,
        O::Dial(args) => ssh_config::dial(context, args).await?,
        O::HostKeys(args) => ssh_config::host_keys(context, args).await?,
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
