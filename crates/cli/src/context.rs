//! Context of a command: options, operations, and the project of the directory.

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
use crate::commands::trust;
use crate::output::Printer;

/// Conventional exit code after SIGINT.
const INTERRUPTED: i32 = 130;

pub(crate) struct Context {
    pub(crate) operations: Arc<Operations>,
    /// For commands on all projects: without the remote of this project.
    pub(crate) default_operations: Arc<Operations>,
    pub(crate) printer: Printer,
    directory: PathBuf,
    /// The project as read to find its engine, for the first call of `project`.
    opened: Cell<Option<Result<Project>>>,
    pub(crate) remote: Option<RemoteName>,
    /// Why the remote of the project's file cannot be used; returned by `project`.
    remote_error: Option<ErrorReport>,
}

impl Context {
    /// With `needs_trust` it asks for consent to what the project's file does to the host.
    pub(crate) async fn new(global: &Global, printer: Printer, needs_trust: bool) -> Result<Self> {
        let here = std::env::current_dir()
            .map_err(|error| Error::io("cannot determine the current directory", error))?;
        let directory = match &global.directory {
            Some(other) => here.join(other),
            None => here,
        };
        let lookup = |name: &str| std::env::var_os(name);
        let operations = assemble::operations(&lookup, global.remote.as_ref()).await?;
        // An unreadable file is reported by `project`.
        let opened = open(&directory);
        if let (true, Ok(project)) = (needs_trust, &opened) {
            trust::ask(&operations.trust(), project)?;
        }
        let file_remote = match &opened {
            Ok(project) => project.file().remote(),
            Err(_) => Ok(None),
        };
        if let (Some(option), Ok(Some(file_remote))) = (&global.remote, &file_remote)
            && option != file_remote
        {
            printer.status(&format!(
                "Ignoring remote `{option}`: the project's file sets `{file_remote}`"
            ));
        }
        let default_operations = operations.clone();
        let selected = match &opened {
            Ok(project) => operations.for_project(project),
            Err(_) => Ok(operations.clone()),
        };
        let (operations, remote_error) = match selected {
            Ok(selected) => (selected, None),
            Err(error) => (operations, Some(error.report())),
        };
        Ok(Self {
            operations,
            default_operations,
            printer,
            directory,
            opened: Cell::new(Some(opened)),
            remote: global.remote.clone(),
            remote_error,
        })
    }

    /// Returns Lima, if it may be installed.
    pub(crate) fn lima() -> Option<Lima> {
        let lookup = |name: &str| std::env::var_os(name);
        let home = assemble::home(&lookup).ok()?;
        assemble::lima(&lookup, &home)
    }

    /// Current directory, or that of `-C`.
    pub(crate) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// Returns a token that the first Ctrl+C cancels. The second Ctrl+C ends the process.
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

    /// Returns the project of the directory and registers it.
    pub(crate) fn project(&self) -> Result<Project> {
        if let Some(report) = &self.remote_error {
            return Err(report.clone().into());
        }
        let project = self.project_of_any_trust()?;
        // A foreign project is not shown in the tray.
        let untrusted = self.operations.trust().untrusted(&project);
        if untrusted.is_ok_and(|parts| parts.is_empty()) {
            self.operations.registry().add(project.directory())?;
        }
        Ok(project)
    }

    /// Returns the project of the directory.
    pub(crate) fn project_of_any_trust(&self) -> Result<Project> {
        match self.opened.take() {
            Some(opened) => opened,
            None => open(&self.directory),
        }
    }

    /// Returns the project of the directory, if there is one.
    pub(crate) fn project_if_any(&self) -> Result<Option<Project>> {
        match self.project() {
            // An unusable project is an error, not a missing one.
            Err(error) if error.kind() == ErrorKind::NotFound && self.remote_error.is_none() => {
                Ok(None)
            }
            found => found.map(Some),
        }
    }
}

fn open(directory: &Path) -> Result<Project> {
    Project::open(&find_directory(directory)?)
}
