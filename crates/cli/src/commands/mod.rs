//! The commands, one file each.

mod create_env;
mod create_project;
mod exec;
mod list;
mod proxy;
mod remove;
mod reset;
mod snapshot;
mod undo;
mod up_down;

use std::process::ExitCode;

use clap::Parser;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, ContainerCommand, ProjectCommand, SnapshotCommand};
use crate::context::Context;
use crate::output::{Printer, exit_code};

/// Our own failures of `exec` and `ssh`, as against the command's.
const EXEC_FAILED: u8 = 125;

/// Parses, runs and renders.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("LDM_LOG").unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
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

fn run(cli: Cli, printer: &Printer) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new(ErrorKind::Internal, "cannot start").caused_by(error))?;
    let context = Context::new(&cli.global, printer.clone())?;
    let result = runtime.block_on(dispatch(&context, cli.command));
    // A read of stdin may still wait in its thread; it must not hold the process.
    runtime.shutdown_background();
    result
}

async fn dispatch(context: &Context, command: Command) -> Result<u8> {
    use ContainerCommand as C;
    match command {
        Command::Create(args) | Command::Project(ProjectCommand::Create(args)) => {
            create_project::run(context, args)?;
        }
        Command::Container(C::Create(args)) => create_env::run(context, args).await?,
        Command::List(args) | Command::Container(C::List(args)) => list::run(context, args).await?,
        Command::Up(args) | Command::Container(C::Up(args)) => up_down::up(context, args).await?,
        Command::Down(args) | Command::Container(C::Down(args)) => {
            up_down::down(context, args).await?;
        }
        Command::Ssh(args) | Command::Container(C::Ssh(args)) => {
            return exec::ssh(context, args).await;
        }
        Command::Exec(args) => return exec::run(context, args).await,
        Command::Proxy(args) | Command::Container(C::Proxy(args)) => {
            proxy::run(context, args).await?;
        }
        Command::Snapshot(args)
        | Command::Container(C::Snapshot(SnapshotCommand::Create(args))) => {
            snapshot::create(context, args).await?;
        }
        Command::Container(C::Snapshot(SnapshotCommand::List(args))) => {
            snapshot::list(context, args).await?;
        }
        Command::Container(C::Snapshot(SnapshotCommand::Delete(args))) => {
            snapshot::delete(context, args).await?;
        }
        Command::Container(C::Reset(args)) => reset::run(context, args).await?,
        Command::Undo(args) => undo::run(context, args).await?,
        Command::Remove(args) | Command::Container(C::Remove(args)) => {
            remove::run(context, args).await?;
        }
    }
    Ok(0)
}
