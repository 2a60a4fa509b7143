//! Which projects are known: those in which a command was run, for the tray and the window.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FILE_NAME;
use crate::error::Result;
use crate::home::{Home, read_json, write_json};

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    projects: Vec<KnownProject>,
}

/// A project that was used once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownProject {
    /// Its directory.
    pub path: PathBuf,
}

/// The list of known projects, in `projects.json`.
#[derive(Debug, Clone)]
pub struct Registry {
    home: Home,
}

impl Registry {
    /// The registry of a home.
    #[must_use]
    pub fn new(home: Home) -> Self {
        Self { home }
    }

    /// The known projects that still have a file, in the order in which they were added, and a
    /// warning where the list had to be set aside.
    ///
    /// # Errors
    /// `Io` where the list can't be read.
    pub fn projects(&self) -> Result<(Vec<KnownProject>, Option<String>)> {
        let (document, warning) = read_json::<Document>(&self.home.projects_file())?;
        let mut projects = document
            .map(|document| document.projects)
            .unwrap_or_default();
        projects.retain(|project| project.path.join(FILE_NAME).exists());
        Ok((projects, warning))
    }

    /// Remembers a project. Does nothing where it is known.
    ///
    /// # Errors
    /// `Io` where the list can't be read or written.
    pub fn add(&self, directory: &Path) -> Result<()> {
        if self
            .projects()?
            .0
            .iter()
            .any(|known| known.path == directory)
        {
            return Ok(());
        }
        let _lock = self.home.lock()?;
        // Again, now that nobody else writes.
        let (mut projects, _) = self.projects()?;
        if !projects.iter().any(|known| known.path == directory) {
            projects.push(KnownProject {
                path: directory.to_path_buf(),
            });
        }
        write_json(
            &self.home.projects_file(),
            &Document {
                version: VERSION,
                projects,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_remembered_once_and_forgotten_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path().join("web");
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join(FILE_NAME), "project: web\n").unwrap();
        let registry = Registry::new(Home::new(directory.path().join("home"), None, None));
        registry.add(&project).unwrap();
        registry.add(&project).unwrap();
        assert_eq!(
            registry.projects().unwrap().0,
            [KnownProject {
                path: project.clone()
            }]
        );
        std::fs::remove_file(project.join(FILE_NAME)).unwrap();
        assert_eq!(registry.projects().unwrap().0, []);
    }
}
