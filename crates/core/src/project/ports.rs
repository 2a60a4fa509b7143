//! Changes of an env's ports in the file.

use super::change::{Change, NewEnv};
use super::schema::File;
use super::{Project, edit};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort};

impl Project {
    /// Changes an env's effective ports, and returns the new ones. Ports from the defaults become
    /// the env's own.
    ///
    /// # Errors
    /// Those of `change` and of [`Project::change`].
    pub fn change_ports(
        &mut self,
        env: &EnvName,
        change: impl Fn(&mut Vec<GuestPort>) -> Result<()>,
    ) -> Result<Vec<GuestPort>> {
        self.rewrite(|text| {
            let file = File::parse(text)?;
            let mut ports = file.ports(env)?;
            change(&mut ports)?;
            // `AddEnv` of an existing env keeps its image.
            let image = file.image(env).ok_or_else(|| {
                let message = format!("`{env}` has no image in the file");
                Error::new(ErrorKind::Config, message)
            })?;
            let mut values = NewEnv::new(env.clone(), image);
            values.ports = Some(ports);
            edit::apply(text, &Change::AddEnv(values))
        })?;
        self.file().ports(env)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::FILE_NAME;

    fn changed(text: &str, change: impl Fn(&mut Vec<GuestPort>)) -> (String, Vec<u16>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, text).unwrap();
        let mut project = Project::open(directory.path()).unwrap();
        let ports = project.change_ports(&"dev".parse().unwrap(), |ports| {
            change(ports);
            Ok(())
        });
        let ports = ports.unwrap().into_iter().map(GuestPort::get).collect();
        (std::fs::read_to_string(path).unwrap(), ports)
    }

    #[test]
    fn default_ports_become_own_ports_without_other_changes() {
        let text = "# mine\ndefaults:\n  ports: [1, 2]\ncontainers:\n  dev:\n    image: a # b\n";
        let (after, ports) = changed(text, |ports| ports.push(GuestPort::new(3).unwrap()));
        assert_eq!(ports, [1, 2, 3]);
        assert!(after.starts_with(text), "{after}");
    }

    #[test]
    fn removes_the_last_port() {
        let text = "containers:\n  dev:\n    image: a\n    ports: [8000]\n";
        let (after, ports) = changed(text, Vec::clear);
        assert_eq!(ports, Vec::<u16>::new());
        assert!(after.contains("ports: []"), "{after}");
    }
}
