//! What every command works with: options, the engine room, and the project of the directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lxc_dev_manager_core::engine::Engine;
use lxc_dev_manager_core::model::RemoteName;
use lxc_dev_manager_core::project::{Project, find_directory};
use lxc_dev_manager_core::{Error, ErrorKind, Result, assemble};
use tokio_util::sync::CancellationToken;

use crate::args::Global;
use crate::output::Printer;

/// Exit code of a process that SIGINT has ended, as shells give it.
const INTERRUPTED: i32 = 130;

/// The surroundings of one command.
pub(crate) struct Context {
    pub(crate) engine: Arc<Engine>,
    pub(crate) printer: Printer,
    directory: PathBuf,
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
        let engine = assemble::engine(&lookup, global.remote.as_ref()).await?;
        let engine = match remote_of_file(&directory)? {
            Some(name) => engine.at_remote(&name)?,
            None => engine,
        };
        Ok(Self {
            engine,
            printer,
            directory,
        })
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
        let project = Project::open(&find_directory(&self.directory)?)?;
        self.engine.registry().add(project.directory())?;
        Ok(project)
    }

    /// The project of the directory, if there is one: for what needs none.
    pub(crate) fn project_if_any(&self) -> Result<Option<Project>> {
        match self.project() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

/// The remote that the file of a directory names. A file that can't be used is not a matter of this:
/// who needs it will say so.
fn remote_of_file(directory: &Path) -> Result<Option<RemoteName>> {
    let opened = find_directory(directory).and_then(|found| Project::open(&found));
    match opened {
        Ok(project) => project.file().remote(),
        Err(_) => Ok(None),
    }
}
