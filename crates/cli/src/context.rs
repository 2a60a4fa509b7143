//! What every command works with: options, the engine room, and the project of the directory.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lxc_dev_manager_core::backend::lima::Lima;
use lxc_dev_manager_core::model::RemoteName;
use lxc_dev_manager_core::operations::Operations;
use lxc_dev_manager_core::project::{Project, find_directory};
use lxc_dev_manager_core::{Error, ErrorKind, ErrorReport, Result, assemble};
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::output::Printer;

/// Exit code of a process that SIGINT has ended, as shells give it.
const INTERRUPTED: i32 = 130;

/// The surroundings of one command.
pub(crate) struct Context {
    pub(crate) operations: Arc<Operations>,
    /// The one of projects that name no remote: for what concerns all projects.
    pub(crate) usual: Arc<Operations>,
    pub(crate) printer: Printer,
    directory: PathBuf,
    /// The project as it was read to find its engine: for the first who asks.
    opened: Cell<Option<Result<Project>>>,
    /// The remote that the command was given.
    pub(crate) remote: Option<RemoteName>,
    /// Why the remote that the project's file names can't be used: told to who opens the project.
    unusable: Option<ErrorReport>,
}

impl Context {
    pub(crate) async fn new(global: &Global, printer: Printer) -> Result<Self> {
        let here = std::env::current_dir()
            .map_err(|error| Error::io("there is no current directory", error))?;
        let directory = match &global.directory {
            Some(other) => here.join(other),
            None => here,
        };
        let lookup = |name: &str| std::env::var_os(name);
        let operations = assemble::operations(&lookup, global.remote.as_ref()).await?;
        // A file that can't be read says so to the command that needs it.
        let opened = open(&directory);
        let named = match &opened {
            Ok(project) => project.file().remote(),
            Err(_) => Ok(None),
        };
        if let (Some(asked), Ok(Some(named))) = (&global.remote, &named)
            && asked != named
        {
            printer.status(&format!(
                "the project's file names the remote `{named}`; `{asked}` is not used"
            ));
        }
        let usual = operations.clone();
        let room = named.and_then(|named| match named {
            Some(named) => operations.at_remote(&named),
            // What can't be read says so to the command that needs it.
            None => opened
                .as_ref()
                .map_or_else(|_| Ok(operations.clone()), |project| operations.of(project)),
        });
        let (operations, unusable) = match room {
            Ok(room) => (room, None),
            Err(error) => (operations, Some(error.report())),
        };
        Ok(Self {
            operations,
            usual,
            printer,
            directory,
            opened: Cell::new(Some(opened)),
            remote: global.remote.clone(),
            unusable,
        })
    }

    /// Lima, where there may be one.
    pub(crate) fn lima() -> Option<Lima> {
        let lookup = |name: &str| std::env::var_os(name);
        let home = assemble::home(&lookup).ok()?;
        assemble::lima(&lookup, &home)
    }

    /// The directory that the command was given.
    pub(crate) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// Cancelled by the first Ctrl+C; the second one ends the process.
    pub(crate) fn cancelled_by_interrupt(&self) -> CancellationToken {
        let cancel = CancellationToken::new();
        let interrupted = cancel.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                interrupted.cancel();
            }
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(INTERRUPTED);
            }
        });
        cancel
    }

    /// The project of the directory, which from now on is a known one.
    pub(crate) fn project(&self) -> Result<Project> {
        if let Some(why) = &self.unusable {
            return Err(why.clone().into());
        }
        let project = match self.opened.take() {
            Some(opened) => opened?,
            None => open(&self.directory)?,
        };
        self.operations.registry().add(project.directory())?;
        Ok(project)
    }

    /// The project of the directory, if there is one: for what needs none.
    pub(crate) fn project_if_any(&self) -> Result<Option<Project>> {
        match self.project() {
            // A project that is there and can't be used is not no project.
            Err(error) if error.kind() == ErrorKind::NotFound && self.unusable.is_none() => {
                Ok(None)
            }
            found => found.map(Some),
        }
    }
}

fn open(directory: &Path) -> Result<Project> {
    Project::open(&find_directory(directory)?)
}
