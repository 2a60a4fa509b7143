//! Writing host files as a tar stream.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::directory::Directory;
use super::host::{ITEM, resolve};

const BUFFER_BYTES: usize = 256 * 1024;

/// Owner of the files at the target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A file that is written by the engine's file API, which is faster than a command's stdin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LargeFile {
    /// Path on the host, for [`open`].
    pub(super) path: PathBuf,
    /// Path in the staging directory.
    pub(super) name: String,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) size: u64,
}

/// Minimum size of a [`LargeFile`].
const LARGE_FILE_BYTES: u64 = 32 << 20;

/// The result of [`pack`].
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// Files that are not in the stream.
    pub(super) large: Vec<LargeFile>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) skipped: Vec<String>,
}

/// A typed source with the links above its last name resolved.
pub(super) fn source(typed: &Path) -> PathBuf {
    match (typed.parent(), typed.file_name()) {
        (Some(parent), Some(name)) => resolve(parent).join(name),
        _ => resolve(typed),
    }
}

/// Opens a file by an absolute path without links: a guest with a mount of the source may replace a file, or a directory
/// above it, by a link to a file that it must not see.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Directory::open(path.parent().unwrap_or(path))?.open_file(name)
}

/// Total size of the files of a path, in bytes.
pub(super) fn measure(path: &Path) -> io::Result<u64> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    let mut sum = 0;
    let mut left = vec![path.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                left.push(entry.path());
            } else {
                sum += about.len();
            }
        }
    }
    Ok(sum)
}

/// Writes a file or directory of [`source`] under the name [`ITEM`], with links as links. `report` gets the number of
/// bytes so far.
pub(super) fn pack(
    source: &Path,
    owner: Owner,
    to: impl Write,
    report: &mut dyn FnMut(u64),
) -> io::Result<Packed> {
    let mut writer = Writer {
        builder: Builder::new(BufWriter::with_capacity(BUFFER_BYTES, to)),
        owner,
        packed: Packed::default(),
        report,
    };
    let mut left = vec![(source.to_path_buf(), PathBuf::from(ITEM))];
    while let Some((path, name)) = left.pop() {
        let about = fs::symlink_metadata(&path)?;
        writer.append(&path, &name, &about)?;
        if !about.is_dir() {
            continue;
        }
        for file in Directory::open(&path)?.names()? {
            left.push((path.join(&file), name.join(&file)));
        }
    }
    writer.builder.into_inner()?.flush()?;
    Ok(writer.packed)
}

struct Writer<'a, W: Write> {
    builder: Builder<W>,
    owner: Owner,
    packed: Packed,
    report: &'a mut dyn FnMut(u64),
}

impl<W: Write> Writer<'_, W> {
    fn append(&mut self, path: &Path, name: &Path, about: &Metadata) -> io::Result<()> {
        let mut header = self.header(about);
        let kind = about.file_type();
        if kind.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            self.packed.files += 1;
            return self
                .builder
                .append_link(&mut header, name, fs::read_link(path)?);
        }
        if kind.is_dir() {
            header.set_entry_type(EntryType::Directory);
            header.set_size(0);
            return self.builder.append_data(&mut header, name, io::empty());
        }
        if kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device() {
            self.packed.skipped.push(path.display().to_string());
            return Ok(());
        }
        if let Some(name) = name.to_str().filter(|_| about.len() >= LARGE_FILE_BYTES) {
            self.packed.large.push(LargeFile {
                path: path.to_path_buf(),
                name: name.to_owned(),
                mode: about.mode() & 0o777,
                size: about.len(),
            });
            return Ok(());
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(about.len());
        // A file that changes meanwhile keeps its announced size.
        let content = open(path)?.chain(io::repeat(0)).take(about.len());
        let counted = Counted {
            inner: content,
            packed: &mut self.packed,
            report: self.report,
        };
        self.builder.append_data(&mut header, name, counted)?;
        self.packed.files += 1;
        Ok(())
    }

    fn header(&self, about: &Metadata) -> Header {
        let mut header = Header::new_gnu();
        header.set_metadata(about);
        header.set_uid(self.owner.uid.into());
        header.set_gid(self.owner.gid.into());
        header
    }
}

struct Counted<'a, R> {
    inner: R,
    packed: &'a mut Packed,
    report: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.packed.bytes += length as u64;
        (self.report)(self.packed.bytes);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn packs_files_links_modes_and_owner() {
        let directory = tempfile::tempdir().unwrap();
        let source = source(&directory.path().join("src"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("-rf\n"), "one").unwrap();
        fs::set_permissions(source.join("-rf\n"), fs::Permissions::from_mode(0o750)).unwrap();
        symlink("/etc/passwd", source.join("link")).unwrap();
        let owner = Owner { uid: 1234, gid: 7 };
        let mut bytes = Vec::new();
        let packed = pack(&source, owner, &mut bytes, &mut |_| {}).unwrap();
        assert_eq!((packed.files, packed.bytes), (2, 3));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.header().uid().unwrap(), 1234);
            assert_eq!(entry.header().gid().unwrap(), 7);
            let mode = entry.header().mode().unwrap() & 0o777;
            let name = entry.path().unwrap().display().to_string();
            seen.push((name, entry.header().entry_type(), mode));
        }
        seen.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(seen[0].0, "item");
        assert_eq!(
            seen[1],
            ("item/-rf\n".to_owned(), EntryType::Regular, 0o750)
        );
        assert_eq!(seen[2].1, EntryType::Symlink);
        assert_eq!(measure(&source).unwrap(), 3 + "/etc/passwd".len() as u64);
    }

    #[test]
    fn leaves_large_files_out_of_the_stream() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        File::create(&path)
            .unwrap()
            .set_len(LARGE_FILE_BYTES)
            .unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        let packed = pack(&source(directory.path()), owner, io::sink(), &mut |_| {}).unwrap();
        assert_eq!((packed.files, packed.bytes), (0, 0));
        let names: Vec<&str> = packed.large.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["item/large"]);
    }

    /// A guest swaps a file or directory for a link after it was listed.
    #[test]
    fn does_not_read_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("secret")).unwrap();
        fs::write(root.join("secret/key"), "key").unwrap();
        symlink("secret", root.join("link")).unwrap();
        symlink("secret/key", root.join("key")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(root.join("fifo"))
            .status();
        assert!(made.unwrap().success());
        assert!(open(&root.join("secret/key")).is_ok());
        for path in ["link/key", "key", "fifo", "secret"] {
            assert!(open(&root.join(path)).is_err(), "{path}");
        }
        // The typed path may lead through links, its last name is sent as what it is.
        assert_eq!(source(&root.join("link/key")), root.join("secret/key"));
        assert_eq!(source(&root.join("link")), root.join("link"));
    }

    #[test]
    fn skips_and_reports_sockets() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        let packed = pack(&source(directory.path()), owner, io::sink(), &mut |_| {}).unwrap();
        assert_eq!(packed.skipped, [path.display().to_string()]);
    }
}
