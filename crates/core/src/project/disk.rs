//! Reading and replacing the file, including links, mounts and invalid content.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, chown};
use std::path::{Path, PathBuf};

use crate::caller::caller;
use crate::error::{Error, ErrorKind, Result};
use crate::home::replace;

const MAX_FILE_BYTES: u64 = 1 << 20;

/// Refuses a file or directory that another user can change, as git's `safe.directory` does.
fn ensure_owned(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    let own = rustix::process::geteuid().as_raw();
    let is_own = [own, 0, caller().uid].contains(&metadata.uid());
    let (writable, sticky) = (metadata.mode() & 0o002 != 0, metadata.mode() & 0o1000 != 0);
    let display = path.display();
    if !is_own {
        let message = format!("{display} belongs to another user (uid {})", metadata.uid());
        return Err(Error::new(ErrorKind::Untrusted, message)
            .with_hint("copy the project to a directory of your own"));
    }
    if writable && !(metadata.is_dir() && sticky) {
        let message = format!("{display} can be changed by every user");
        return Err(Error::new(ErrorKind::Untrusted, message)
            .with_hint(format!("make it private: `chmod o-w {display}`")));
    }
    Ok(())
}

/// Reads the file.
///
/// # Errors
/// `NotFound` if missing; `Untrusted` if other users can change it; `Config` for anything but a text file of up to 1 MiB; `Io` if unreadable.
pub(super) fn read(path: &Path) -> Result<String> {
    let display = path.display();
    let refuse = |reason: String, hint: &'static str| {
        Err(Error::new(ErrorKind::Config, format!("{display} {reason}")).with_hint(hint))
    };
    let failed = |error| Error::io(format!("cannot read {display}"), error);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) if fs::symlink_metadata(path).is_ok() => {
            return refuse(
                "is a broken symbolic link".into(),
                "create its target, or delete it",
            );
        }
        Err(_) => {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("{display} does not exist"),
            ));
        }
    };
    if !metadata.is_file() {
        let kind = file_type_name(metadata.file_type());
        return refuse(format!("is {kind}: expected a file"), "move it away");
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    ensure_owned(path, &file.metadata().map_err(failed)?)?;
    let directory = path.parent().unwrap_or(path);
    ensure_owned(directory, &fs::metadata(directory).map_err(failed)?)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let reason = format!(
            "has {} bytes: expected at most {MAX_FILE_BYTES}",
            metadata.len()
        );
        return refuse(reason, "check that it is the right file");
    }
    String::from_utf8(bytes).or_else(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..valid];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        refuse(format!("is not UTF-8 in line {line}"), "save it as UTF-8")
    })
}

fn file_type_name(kind: fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// The file behind a symbolic link, and its metadata to preserve.
pub(super) fn ensure_writable(path: &Path) -> Result<(PathBuf, fs::Metadata)> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), error);
    let target = path.canonicalize().map_err(failed)?;
    let metadata = fs::metadata(&target).map_err(failed)?;
    if metadata.permissions().readonly() {
        let message = format!("{} is read-only", target.display());
        return Err(Error::new(ErrorKind::Io, message)
            .with_hint("make it writable: `chmod u+w containers.yaml`"));
    }
    Ok((target, metadata))
}

/// Replaces the file. Follows a symbolic link and preserves owner and mode (under sudo too). A file that is its own
/// mount point (in a container) is overwritten in place; also one that is `shared` with envs, whose read-only mount
/// over it would not outlive a replacement.
pub(super) fn write(path: &Path, text: &str, shared: bool) -> Result<()> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", path.display()), error);
    let (target, metadata) = ensure_writable(path)?;
    if shared {
        return write_in_place(&target, text.as_bytes(), metadata.permissions());
    }
    match replace(&target, text.as_bytes(), metadata.permissions()) {
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            return write_in_place(&target, text.as_bytes(), metadata.permissions());
        }
        result => result.map_err(failed)?,
    }
    if rustix::process::geteuid().as_raw() == 0 {
        chown(&target, Some(metadata.uid()), Some(metadata.gid())).map_err(failed)?;
    }
    Ok(())
}

/// The backup during an in-place write.
pub(super) fn backup_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.before"))
}

/// Overwrites a file in place. A backup exists until the new text is on disk, so a killed process
/// leaves it.
fn write_in_place(target: &Path, text: &[u8], mode: fs::Permissions) -> Result<()> {
    let failed = |error: io::Error| Error::io(format!("cannot write {}", target.display()), error);
    let backup = backup_path(target);
    let before = fs::read(target).map_err(failed)?;
    replace(&backup, &before, mode).map_err(failed)?;
    if let Err(error) = overwrite(target, text) {
        let Err(restore_error) = overwrite(target, &before) else {
            drop(fs::remove_file(&backup));
            return Err(failed(error));
        };
        let hint = format!("the previous text is in {}", backup.display());
        return Err(failed(restore_error).with_hint(hint));
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

    fn ensure_refused(path: &Path, kind: ErrorKind, word: &str) {
        let error = read(path).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let message = error.report().message;
        assert!(message.contains(word), "{message}");
        assert!(message.contains(&path.display().to_string()), "{message}");
    }

    #[test]
    fn rejects_anything_but_a_text_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("containers.yaml");
        ensure_refused(&path, ErrorKind::NotFound, "does not exist");
        symlink("nowhere", &path).unwrap();
        ensure_refused(&path, ErrorKind::Config, "broken symbolic link");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        ensure_refused(&path, ErrorKind::Config, "a directory");
        fs::remove_dir(&path).unwrap();
        // Opening a pipe without a writer would block.
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        ensure_refused(&path, ErrorKind::Config, "a pipe");
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"project: a\n# \xff\n").unwrap();
        ensure_refused(&path, ErrorKind::Config, "line 2");
        fs::write(&path, b"\x7fELF\x02\x01\x01\0\0\xff\xfe").unwrap();
        ensure_refused(&path, ErrorKind::Config, "not UTF-8");
        fs::write(&path, vec![b'#'; 10 << 20]).unwrap();
        ensure_refused(&path, ErrorKind::Config, "10485760 bytes");
    }

    #[test]
    fn in_place_write_leaves_no_backup() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("containers.yaml");
        fs::write(&path, "a long text from before").unwrap();
        let inode = fs::metadata(&path).unwrap().ino();
        write_in_place(&path, b"new", fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_in_place_write_keeps_the_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("containers.yaml");
        // The backup cannot be written.
        fs::write(&path, "before").unwrap();
        let backup = backup_path(&path);
        fs::create_dir(&backup).unwrap();
        let mode = fs::Permissions::from_mode(0o600);
        assert!(write_in_place(&path, b"new", mode).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    }
}
