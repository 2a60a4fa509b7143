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
        let (mut projects, warning) = self.read()?;
        projects.retain(|project| project.path.join(FILE_NAME).exists());
        Ok((projects, warning))
    }

    /// All known projects, also those whose file isn't there now.
    ///
    /// # Errors
    /// `Io` where the list can't be read.
    pub fn all(&self) -> Result<Vec<KnownProject>> {
        Ok(self.read()?.0)
    }

    fn read(&self) -> Result<(Vec<KnownProject>, Option<String>)> {
        let (document, warning) = read_json::<Document>(&self.home.projects_file(), VERSION)?;
        let projects = document.map(|document| document.projects);
        Ok((projects.unwrap_or_default(), warning))
    }

    /// Remembers a project. Does nothing where it is known. Those whose directory is gone are forgotten; one
    /// whose file alone is away may be in the middle of a checkout.
    ///
    /// # Errors
    /// `Io` where the list can't be read or written.
    pub fn add(&self, directory: &Path) -> Result<()> {
        let is_it = |known: &KnownProject| known.path == directory;
        if self.read()?.0.iter().any(is_it) {
            return Ok(());
        }
        let _lock = self.home.lock()?;
        // Again, now that nobody else writes.
        let (mut projects, _) = self.read()?;
        projects.retain(|known| known.path.is_dir());
        if !projects.iter().any(is_it) {
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

    #[test]
    fn one_whose_file_is_away_for_a_moment_is_known_when_it_is_back() {
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
        assert_eq!(known, [web.clone(), api].map(|path| KnownProject { path }));
        assert_eq!(registry.projects().unwrap().0, []);
        std::fs::write(web.join(FILE_NAME), "project: web\n").unwrap();
        assert_eq!(registry.projects().unwrap().0, [KnownProject { path: web }]);
    }
}
