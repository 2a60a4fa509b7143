//! What every command works with: options, the engine room, and the project of the directory.

use std::path::PathBuf;
use std::sync::Arc;

use lxc_dev_manager_core::engine::Engine;
use lxc_dev_manager_core::project::{Project, find_directory};
use lxc_dev_manager_core::{Error, Result, assemble};

use crate::args::Global;
use crate::output::Printer;

/// The surroundings of one command.
pub(crate) struct Context {
    pub(crate) engine: Arc<Engine>,
    pub(crate) printer: Printer,
    directory: PathBuf,
}

impl Context {
    pub(crate) fn new(global: &Global, printer: Printer) -> Result<Self> {
        let here = std::env::current_dir()
            .map_err(|error| Error::io("there is no current directory", error))?;
        let directory = match &global.directory {
            Some(other) => here.join(other),
            None => here,
        };
        let engine = assemble::engine(&|name| std::env::var_os(name))?;
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

    /// The project of the directory, which from now on is a known one.
    pub(crate) fn project(&self) -> Result<Project> {
        let project = Project::open(&find_directory(&self.directory)?)?;
        self.engine.registry().add(project.directory())?;
        Ok(project)
    }
}
