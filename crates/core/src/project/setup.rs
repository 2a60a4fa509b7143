//! `setup:` of an env: a script, or a file with one.
//!
//! Text with a line break is a script. A single line that names a file, relative to the project's
//! directory, is that file; so is an absolute path or one with `./` or `../`, which must exist. Any
//! other single line is a script.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::error::{Error, ErrorKind, Result};

/// Limits reading of a wrong file, such as a disk image.
const MAX_SCRIPT_BYTES: u64 = 1 << 20;

/// The script that runs once in a new env.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// The script itself.
    Script(String),
    /// A script file of the host, absolute.
    File(PathBuf),
}

impl Setup {
    /// Parses a text relative to a project's directory.
    pub(super) fn parse(text: &str, directory: &Path) -> Result<Self> {
        if text.contains(['\n', '\r']) {
            return Ok(Self::Script(text.to_owned()));
        }
        let line = text.trim();
        let path = directory.join(line);
        if path.is_file() {
            let real = path.canonicalize();
            let real = real
                .map_err(|error| Error::io(format!("cannot resolve {}", path.display()), error))?;
            return Ok(Self::File(real));
        }
        // `/usr/bin/env …` is a script.
        let one_word = !line.contains(char::is_whitespace);
        let is_path = ["/", "./", "../"].iter().any(|head| line.starts_with(head));
        if is_path && one_word {
            let message = format!("the `setup:` file {} does not exist", path.display());
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("correct the path, or write the script after `setup: |`"));
        }
        Ok(Self::Script(text.to_owned()))
    }

    /// Returns the script's bytes; reads a file now.
    ///
    /// # Errors
    /// `Io` for an unreadable file, `Config` for one of more than 1 MiB.
    pub fn read(&self) -> Result<Vec<u8>> {
        let path = match self {
            Self::Script(text) => return Ok(text.clone().into_bytes()),
            Self::File(path) => path,
        };
        let failed = |error| Error::io(format!("cannot read the script {}", path.display()), error);
        // It was resolved for the user's consent: a link is new.
        let mut options = fs::OpenOptions::new();
        let options = options
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = options.open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_SCRIPT_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_SCRIPT_BYTES {
            let message = format!("the script {} is too large", path.display());
            return Err(Error::new(ErrorKind::Config, message).with_hint("expected at most 1 MiB"));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("scripts")).unwrap();
        for name in ["setup.sh", "make", "with blank.sh", "scripts/dev"] {
            fs::write(directory.path().join(name), "#!/bin/sh\necho it\n").unwrap();
        }
        directory
    }

    #[test]
    fn single_line_with_a_file_name_is_the_file() {
        let directory = test_directory();
        let absolute = directory.path().join("make");
        for (text, name) in [
            ("setup.sh", "setup.sh"),
            ("./setup.sh", "setup.sh"),
            ("scripts/dev", "scripts/dev"),
            ("make", "make"),
            ("with blank.sh", "with blank.sh"),
            (absolute.to_str().unwrap(), "make"),
        ] {
            let setup = Setup::parse(text, directory.path()).unwrap();
            assert_eq!(setup, Setup::File(directory.path().join(name)), "{text}");
            assert_eq!(setup.read().unwrap(), b"#!/bin/sh\necho it\n");
        }
    }

    #[test]
    fn other_text_is_a_script() {
        let directory = test_directory();
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
            let setup = Setup::parse(text, directory.path()).unwrap();
            assert_eq!(setup, Setup::Script(text.to_owned()), "{text}");
            assert_eq!(setup.read().unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn rejects_a_path_without_a_file() {
        let directory = test_directory();
        for text in ["./missing.sh", "../missing.sh", "/no/such.sh", "./scripts"] {
            let error = Setup::parse(text, directory.path()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("does not exist"), "{error}");
        }
    }

    #[test]
    fn rejects_a_large_file() {
        let directory = test_directory();
        let path = directory.path().join("big");
        let file = fs::File::create(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = Setup::File(path).read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("too large"), "{error}");
    }
}
