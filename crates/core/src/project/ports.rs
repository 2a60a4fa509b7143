//! Ports of an env as they stand in the file.

use super::change::{Change, NewEnv};
use super::schema::File;
use super::{Project, edit};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort};

impl Project {
    /// Changes the ports of an env, from what holds for it now; returns what holds then. Those that it
    /// had from the defaults stand below its own name from then on.
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
            // An env that is there keeps the image that it has.
            let image = file.image(env).ok_or_else(|| {
                let message = format!("`{env}` has no image in the file");
                Error::new(ErrorKind::Config, message)
            })?;
            let mut known = NewEnv::new(env.clone(), image);
            known.ports = Some(ports);
            edit::apply(text, &Change::AddEnv(known))
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
    fn ports_of_the_defaults_become_its_own_and_the_rest_stays() {
        let text = "# mine\ndefaults:\n  ports: [1, 2]\ncontainers:\n  dev:\n    image: a # b\n";
        let (after, ports) = changed(text, |ports| ports.push(GuestPort::new(3).unwrap()));
        assert_eq!(ports, [1, 2, 3]);
        assert!(after.starts_with(text), "{after}");
    }

    #[test]
    fn the_last_port_can_be_taken_away() {
        let text = "containers:\n  dev:\n    image: a\n    ports: [8000]\n";
        let (after, ports) = changed(text, Vec::clear);
        assert_eq!(ports, Vec::<u16>::new());
        assert!(after.contains("ports: []"), "{after}");
    }
}
