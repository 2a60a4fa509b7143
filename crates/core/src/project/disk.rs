//! Reading and replacing the file, whatever stands in its place.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::home::replace;

/// More than a file for people ever has; reading stops there.
const MAX_FILE: u64 = 1 << 20;

/// Reads the file.
///
/// # Errors
/// `NotFound` where there is none; `Config` for what is no text file of a sensible size; `Io` where it
/// can't be read.
pub(super) fn read(path: &Path) -> Result<String> {
    let shown = path.display();
    let refuse = |why: String, hint: &'static str| {
        Err(Error::new(ErrorKind::Config, format!("{shown} {why}")).with_hint(hint))
    };
    let failed = |error| Error::io(format!("cannot read {shown}"), error);
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            return refuse(
                "is a link that leads nowhere".into(),
                "make what it leads to, or delete it",
            );
        }
        Err(_) => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no {shown}"),
            ));
        }
    };
    if !about.is_file() {
        let what = kind(about.file_type());
        return refuse(format!("is {what}, not a file"), "move it away");
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        let why = format!("has {} bytes, {MAX_FILE} are possible", about.len());
        return refuse(why, "is it the right file?");
    }
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        refuse(format!("is not UTF-8 in line {line}"), "save it as UTF-8")
    })
}

fn kind(what: fs::FileType) -> &'static str {
    if what.is_dir() {
        "a directory"
    } else if what.is_fifo() {
        "a pipe"
    } else if what.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The file behind a symbolic link, and what is to be kept of it.
pub(super) fn expect_writable(path: &Path) -> Result<(PathBuf, fs::Metadata)> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), error);
    let target = path.canonicalize().map_err(failed)?;
    let about = fs::metadata(&target).map_err(failed)?;
    if about.permissions().readonly() {
        let message = format!("{} is read-only", target.display());
        return Err(Error::new(ErrorKind::Io, message)
            .with_hint("make it writable: `chmod u+w containers.yaml`"));
    }
    Ok((target, about))
}

/// Replaces the file; a symbolic link is followed, owner and mode are kept (under sudo too). A file that is a
/// mount of its own (of one file, in a container say) can't be replaced: its text is.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), error);
    let (target, about) = expect_writable(path)?;
    match replace(&target, text.as_bytes(), about.permissions()) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            return write_in_place(&target, text.as_bytes(), about.permissions());
        }
        done => done.map_err(failed)?,
    }
    if rustix::process::geteuid().as_raw() == 0 {
        chown(&target, Some(about.uid()), Some(about.gid())).map_err(failed)?;
    }
    Ok(())
}

/// Where the text from before is while a file is written in its place.
pub(super) fn backup_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.before"))
}

/// Writes a text over another one. The old one is kept beside until the new one is on the disk: whoever is
/// killed in between leaves it there.
fn write_in_place(target: &Path, text: &[u8], mode: fs::Permissions) -> Result<()> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", target.display()), error);
    let backup = backup_of(target);
    let before = fs::read(target).map_err(failed)?;
    replace(&backup, &before, mode).map_err(failed)?;
    if let Err(error) = overwrite(target, text) {
        let Err(again) = overwrite(target, &before) else {
            drop(fs::remove_file(&backup));
            return Err(failed(error));
        };
        let hint = format!("its text from before is in {}", backup.display());
        return Err(failed(again).with_hint(hint));
    }
    fs::remove_file(&backup).map_err(failed)
}

fn overwrite(target: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(target)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn expect_refused(path: &Path, kind: ErrorKind, word: &str) {
        let error = read(path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let message = error.report().message;
        assert!(message.contains(word), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
    }

    #[test]
    fn what_is_no_text_file_is_refused_with_what_it_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("containers.yaml");
        expect_refused(&path, ErrorKind::NotFound, "there is no");
        symlink("nowhere", &path).unwrap();
        expect_refused(&path, ErrorKind::Config, "leads nowhere");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        expect_refused(&path, ErrorKind::Config, "a directory");
        fs::remove_dir(&path).unwrap();
        // Opening a pipe without a writer would wait for ever.
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        expect_refused(&path, ErrorKind::Config, "a pipe");
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"project: a\n# \xff\n").unwrap();
        expect_refused(&path, ErrorKind::Config, "line 2");
        fs::write(&path, b"\x7fELF\x02\x01\x01\0\0\xff\xfe").unwrap();
        expect_refused(&path, ErrorKind::Config, "not UTF-8");
        fs::write(&path, vec![b'#'; 10 << 20]).unwrap();
        expect_refused(&path, ErrorKind::Config, "10485760 bytes");
    }

    #[test]
    fn a_text_written_in_its_place_leaves_nothing_beside() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("containers.yaml");
        fs::write(&path, "a long text from before").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        write_in_place(&path, b"new", fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_text_that_can_not_be_written_in_its_place_is_still_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("containers.yaml");
        // Without a place for the old text nothing is begun.
        fs::write(&path, "before").unwrap();
        let backup = backup_of(&path);
        fs::create_dir(&backup).unwrap();
        let mode = fs::Permissions::from_mode(0o600);
        assert!(write_in_place(&path, b"new", mode).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    }
}
