//! The registry of projects in which a command was run, for the tray and the window.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FILE_NAME;
use crate::error::Result;
use crate::home::{Home, read_json, write_json};

const VERSION: u32 = 1;
/// Length from which missing projects are dropped.
const MAX_PROJECTS: usize = 500;

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    projects: Vec<KnownProject>,
}

/// A registered project.
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

    /// Known projects that have a file, in order of registration, with a warning if the list was
    /// invalid.
    ///
    /// # Errors
    /// `Io` if the list is unreadable.
    pub fn projects(&self) -> Result<(Vec<KnownProject>, Option<String>)> {
        let (mut projects, warning) = self.read()?;
        projects.retain(|project| project.path.join(FILE_NAME).exists());
        Ok((projects, warning))
    }

    /// All known projects, including those without a file.
    ///
    /// # Errors
    /// `Io` if the list is unreadable.
    pub fn all(&self) -> Result<Vec<KnownProject>> {
        Ok(self.read()?.0)
    }

    fn read(&self) -> Result<(Vec<KnownProject>, Option<String>)> {
        let (document, warning) = read_json::<Document>(&self.home.projects_file(), VERSION)?;
        let projects = document.map(|document| document.projects);
        Ok((projects.unwrap_or_default(), warning))
    }

    /// Registers a project, if new. One whose directory is missing may be on a disk that is away, so it is dropped only
    /// from a long list.
    ///
    /// # Errors
    /// `Io` if the list cannot be read or written.
    pub fn add(&self, directory: &Path) -> Result<()> {
        let is_same = |known: &KnownProject| known.path == directory;
        if self.read()?.0.iter().any(is_same) {
            return Ok(());
        }
        let _lock = self.home.lock()?;
        // Read again under the lock.
        let (mut projects, _) = self.read()?;
        if projects.len() >= MAX_PROJECTS {
            projects.retain(|known| known.path.is_dir());
        }
        if !projects.iter().any(is_same) {
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
    fn registers_a_project_once_and_hides_it_without_a_file() {
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

    #[test]
    fn keeps_missing_projects_but_shows_only_those_with_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let registry = Registry::new(Home::new(directory.path().join("home"), None, None));
        let [web, api, gone] = ["web", "api", "gone"].map(|name| directory.path().join(name));
        for project in [&web, &api, &gone] {
            std::fs::create_dir(project).unwrap();
        }
        registry.add(&web).unwrap();
        registry.add(&gone).unwrap();
        std::fs::remove_dir(&gone).unwrap();
        registry.add(&api).unwrap();
        let known = registry.all().unwrap();
        assert_eq!(
            known,
            [web.clone(), gone, api].map(|path| KnownProject { path })
        );
        assert_eq!(registry.projects().unwrap().0, []);
        std::fs::write(web.join(FILE_NAME), "project: web\n").unwrap();
        assert_eq!(registry.projects().unwrap().0, [KnownProject { path: web }]);
    }
}
