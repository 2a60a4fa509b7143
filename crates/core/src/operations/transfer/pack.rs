//! Writing files of the host as a tar stream.

use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::ITEM;

/// Bytes that are written at once.
const PIECE: usize = 256 * 1024;

/// Whom the files belong to at the other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// A file that is too big to go through a command's input as fast as the engine itself writes files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Big {
    /// On the host.
    pub(super) path: PathBuf,
    /// Below the staging directory.
    pub(super) name: String,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) size: u64,
}

/// From how many bytes on a file goes apart.
const BIG: u64 = 32 << 20;

/// What was written.
#[derive(Debug, Default)]
pub(super) struct Packed {
    /// What was left out, to be sent apart.
    pub(super) big: Vec<Big>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) skipped: Vec<String>,
}

/// How much there is to write.
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

/// Writes a file or a directory under the name [`ITEM`], links as links. `report` hears of the bytes so
/// far.
pub(super) fn pack(
    source: &Path,
    owner: Owner,
    to: impl Write,
    report: &mut dyn FnMut(u64),
) -> io::Result<Packed> {
    let mut writer = Writer {
        builder: Builder::new(BufWriter::with_capacity(PIECE, to)),
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
        for entry in fs::read_dir(&path)? {
            let file = entry?.file_name();
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
        if let Some(name) = name.to_str().filter(|_| about.len() >= BIG) {
            self.packed.big.push(Big {
                path: path.to_path_buf(),
                name: name.to_owned(),
                mode: about.mode() & 0o777,
                size: about.len(),
            });
            return Ok(());
        }
        header.set_entry_type(EntryType::Regular);
        header.set_size(about.len());
        // Whoever writes into the file now must not shift what follows it.
        let whole = File::open(path)?.chain(io::repeat(0)).take(about.len());
        let counted = Counted {
            inner: whole,
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
    fn files_links_and_modes_are_written_and_owned_as_said() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("src");
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
    fn a_big_file_goes_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big");
        File::create(&path).unwrap().set_len(BIG).unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        let packed = pack(directory.path(), owner, io::sink(), &mut |_| {}).unwrap();
        assert_eq!((packed.files, packed.bytes), (0, 0));
        let names: Vec<&str> = packed.big.iter().map(|big| big.name.as_str()).collect();
        assert_eq!(names, ["item/big"]);
    }

    #[test]
    fn a_socket_is_left_out_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let owner = Owner { uid: 0, gid: 0 };
        let packed = pack(directory.path(), owner, io::sink(), &mut |_| {}).unwrap();
        assert_eq!(packed.skipped, [path.display().to_string()]);
    }
}
