//! `setup:` of an env: a script, or a file with one.
//!
//! A text with a line break is a script. A single line that is the name of a file, seen from the project's
//! directory, is that file; so is an absolute path or one that begins with `./` or `../`, and then a missing
//! file is an error. Any other single line is a script.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// More than a script needs; a wrong file (an image of a disk, say) is not read to its end.
const MAX_SCRIPT: u64 = 1 << 20;

/// What is run once when an env is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// The script itself.
    Script(String),
    /// A file of the host with the script in it, absolute.
    File(PathBuf),
}

impl Setup {
    /// Decides what a text means, seen from a project's directory.
    pub(super) fn of(text: &str, directory: &Path) -> Result<Self> {
        if text.contains(['\n', '\r']) {
            return Ok(Self::Script(text.to_owned()));
        }
        let line = text.trim();
        let path = directory.join(line);
        if path.is_file() {
            return Ok(Self::File(path));
        }
        // Otherwise `/usr/bin/env …` would be a path too.
        let one_word = !line.contains(char::is_whitespace);
        let is_path = ["/", "./", "../"].iter().any(|head| line.starts_with(head));
        if is_path && one_word {
            let message = format!(
                "there is no file {}, the `setup:` of the env",
                path.display()
            );
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("correct the path, or write the script itself below `setup: |`"));
        }
        Ok(Self::Script(text.to_owned()))
    }

    /// The script's bytes; a file is read now.
    ///
    /// # Errors
    /// `Io` for a file that can't be read, `Config` for one of more than a mebibyte.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = match self {
            Self::Script(text) => return Ok(text.clone().into_bytes()),
            Self::File(path) => path,
        };
        let failed = |error| Error::io(format!("cannot read the script {}", path.display()), error);
        let file = fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_SCRIPT + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_SCRIPT {
            let message = format!("{} is too big to be a script", path.display());
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("a script of at most 1 MiB can load what else it needs"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("scripts")).unwrap();
        for name in ["setup.sh", "make", "with blank.sh", "scripts/dev"] {
            fs::write(directory.path().join(name), "#!/bin/sh\necho it\n").unwrap();
        }
        directory
    }

    #[test]
    fn a_single_line_that_names_a_file_is_the_file() {
        let place = place();
        let absolute = place.path().join("make");
        for (text, name) in [
            ("setup.sh", "setup.sh"),
            ("./setup.sh", "./setup.sh"),
            ("scripts/dev", "scripts/dev"),
            ("make", "make"),
            ("with blank.sh", "with blank.sh"),
            (absolute.to_str().unwrap(), "make"),
        ] {
            let setup = Setup::of(text, place.path()).unwrap();
            assert_eq!(setup, Setup::File(place.path().join(name)), "{text}");
            assert_eq!(setup.read().unwrap(), b"#!/bin/sh\necho it\n");
        }
    }

    #[test]
    fn anything_else_is_a_script() {
        let place = place();
        for text in [
            "apt-get install -y git",
            "setup.sh\n",
            "./missing.sh\n",
            "scripts",
            "~/setup.sh",
            "missing",
            "./missing.sh --now",
            "#!/bin/sh\ntrue",
        ] {
            let setup = Setup::of(text, place.path()).unwrap();
            assert_eq!(setup, Setup::Script(text.to_owned()), "{text}");
            assert_eq!(setup.read().unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_path_without_a_file_is_an_error() {
        let place = place();
        for text in ["./missing.sh", "../missing.sh", "/no/such.sh", "./scripts"] {
            let error = Setup::of(text, place.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("there is no file"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_too_big_is_refused() {
        let place = place();
        let path = place.path().join("big");
        let file = fs::File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = Setup::File(path).read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("too big"), "{error}");
    }
}
