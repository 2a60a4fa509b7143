//! Reading tar streams from guests, which are untrusted.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use tar::{Archive, Builder, Entry, EntryType};

use super::directory::Directory;
use super::host::ITEM;
use super::pack::Owner;
use crate::escape::visible_path;

const BUFFER_BYTES: usize = 256 * 1024;
/// Size of a header in a tar stream.
const BLOCK_BYTES: u64 = 512;
/// Limit of the list of skipped names.
const MAX_SKIPPED: usize = 100;

/// The result of [`unpack`] and [`rewrite`].
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) skipped: Vec<String>,
}

impl Unpacked {
    /// Notes a name that is not copied; a guest may send any number of them.
    fn skip(&mut self, name: &Path) {
        match self.skipped.len().cmp(&MAX_SKIPPED) {
            Ordering::Less => self.skipped.push(visible_path(name)),
            Ordering::Equal => self.skipped.push("…".to_owned()),
            Ordering::Greater => {}
        }
    }

    fn count<R: Read>(&mut self, entry: &Entry<'_, R>) {
        if !entry.header().entry_type().is_dir() {
            self.files += 1;
            self.bytes += entry.size();
        }
    }
}

/// A stream that reports the number of bytes read.
struct Counted<'a, R> {
    inner: BufReader<R>,
    read: u64,
    report: &'a mut dyn FnMut(u64),
}

impl<'a, R: Read> Counted<'a, R> {
    fn new(from: R, report: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, from),
            read: 0,
            report,
        }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read += length as u64;
        (self.report)(self.read);
        Ok(length)
    }
}

/// Unpacks a stream as [`ITEM`] in a directory. Names and links of the stream cannot escape from it.
///
/// # Errors
/// `InvalidData` for a name that escapes; `FileTooLarge` for more than `max` bytes; those of reading and writing.
pub(super) fn unpack(
    from: impl Read,
    staging: &Directory,
    max: u64,
    report: &mut dyn FnMut(u64),
) -> io::Result<Unpacked> {
    let mut archive = Archive::new(Counted::new(from, report));
    let mut limit = Limit { left: max };
    let mut unpacked = Unpacked::default();
    // A directory gets its mode after its files are written.
    let mut directories = Vec::new();
    // The first entry is the item: a directory, or a file and then the only entry.
    let mut root = None;
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let name = relative_name(&entry.path()?)?;
        let kind = entry.header().entry_type();
        // Without content an entry still fills the disk.
        limit.take(BLOCK_BYTES)?;
        if number == 0 && kind.is_dir() {
            staging.create(OsStr::new(ITEM))?;
            root = Some(staging.child(OsStr::new(ITEM))?);
        }
        let is_file_of_its_own = root.is_none() && number == 0 && name.components().count() == 1;
        if root.is_none() && !is_file_of_its_own {
            return Err(escapes(&name));
        }
        if let (true, Some(root)) = (kind.is_dir(), &root) {
            root.descend(&name, true)
                .map_err(|error| at(&name, error))?;
            directories.push((name, entry.header().mode()? & 0o777));
        } else if !is_supported(kind) {
            unpacked.skip(&name);
        } else {
            unpacked.count(&entry);
            let done = match &root {
                Some(root) => {
                    let parent = root.descend(name.parent().unwrap_or(Path::new("")), true);
                    let file = name.file_name().ok_or_else(|| escapes(&name))?;
                    parent.and_then(|parent| {
                        unpack_file(&mut entry, Some(root), &parent, file, &mut limit)
                    })
                }
                None => unpack_file(&mut entry, None, staging, OsStr::new(ITEM), &mut limit),
            };
            done.map_err(|error| at(&name, error))?;
        }
    }
    if staging.kind(OsStr::new(ITEM))?.is_none() {
        let message = "the stream is empty";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    for (name, mode) in directories.into_iter().rev() {
        // Always writable for the owner, so that it can be moved or deleted.
        let directory = root.as_ref().map(|root| root.descend(&name, false));
        directory
            .transpose()?
            .map_or(Ok(()), |it| it.set_mode(mode | 0o700))?;
    }
    Ok(unpacked)
}

/// Bytes that may still be written.
struct Limit {
    left: u64,
}

impl Limit {
    fn take(&mut self, bytes: u64) -> io::Result<()> {
        let left = self.left.checked_sub(bytes);
        self.left = left.ok_or(io::Error::from(io::ErrorKind::FileTooLarge))?;
        Ok(())
    }
}

/// Creates a file or link. A hard link names another file below `root`.
fn unpack_file<R: Read>(
    entry: &mut Entry<'_, R>,
    root: Option<&Directory>,
    parent: &Directory,
    name: &OsStr,
    limit: &mut Limit,
) -> io::Result<()> {
    let kind = entry.header().entry_type();
    let link = entry.link_name()?.map(|link| link.into_owned());
    match (link, root) {
        (Some(link), _) if kind.is_symlink() => parent.create_link(name, &link),
        (Some(link), Some(root)) if kind.is_hard_link() => {
            let link = relative_name(&link)?;
            let from = root.descend(link.parent().unwrap_or(Path::new("")), false)?;
            let file = link.file_name().ok_or_else(|| escapes(&link))?;
            parent.create_hard_link(name, &from, file)
        }
        _ if kind.is_symlink() || kind.is_hard_link() => Err(io::ErrorKind::InvalidData.into()),
        _ => {
            let file = parent.create_file(name)?;
            // The reader fills the holes of sparse files, so a header alone cannot fill the disk.
            let written = io::copy(&mut entry.take(limit.left + 1), &mut &file)?;
            limit.take(written)?;
            let mode = entry.header().mode()? & 0o777;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            let modified = UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?);
            // A time that the file system cannot store is no reason to fail.
            let _ = file.set_modified(modified);
            Ok(())
        }
    }
}

/// Adds the name of an entry to an error.
fn at(name: &Path, error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::FileTooLarge | io::ErrorKind::StorageFull => error,
        kind => io::Error::new(kind, format!("{}: {error}", visible_path(name))),
    }
}

/// Rewrites the names and owners of a stream for [`super::guest::RECEIVE`].
pub(super) fn rewrite(
    from: impl Read,
    to: impl Write,
    owner: Owner,
    report: &mut dyn FnMut(u64),
) -> io::Result<Unpacked> {
    let mut archive = Archive::new(Counted::new(from, report));
    let mut builder = Builder::new(io::BufWriter::with_capacity(BUFFER_BYTES, to));
    let mut unpacked = Unpacked::default();
    let mut is_directory = false;
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let name = relative_name(&entry.path()?)?;
        let kind = entry.header().entry_type();
        if number == 0 {
            is_directory = kind.is_dir();
        }
        if !is_supported(kind) && !kind.is_dir() {
            unpacked.skip(&name);
            continue;
        }
        unpacked.count(&entry);
        let prefixed = |name: PathBuf| {
            if is_directory && !name.as_os_str().is_empty() {
                Path::new(ITEM).join(name)
            } else {
                PathBuf::from(ITEM)
            }
        };
        let mut header = entry.header().clone();
        header.set_uid(owner.uid.into());
        header.set_gid(owner.gid.into());
        if kind.is_file() || kind.is_gnu_sparse() {
            // The reader fills the holes of sparse files.
            header.set_entry_type(EntryType::Regular);
            header.set_size(entry.size());
        }
        for set in [
            tar::Header::set_username as fn(&mut tar::Header, &str) -> io::Result<()>,
            tar::Header::set_groupname,
        ] {
            set(&mut header, "")?;
        }
        let link = entry.link_name()?.map(|link| link.into_owned());
        match link {
            // A hard link names another file of the stream.
            Some(link) if kind.is_hard_link() => {
                builder.append_link(
                    &mut header,
                    prefixed(name),
                    prefixed(relative_name(&link)?),
                )?;
            }
            Some(link) => builder.append_link(&mut header, prefixed(name), link)?,
            None => builder.append_data(&mut header, prefixed(name), &mut entry)?,
        }
    }
    builder.into_inner()?.flush()?;
    Ok(unpacked)
}

fn is_supported(kind: EntryType) -> bool {
    kind.is_file() || kind.is_symlink() || kind.is_hard_link() || kind.is_gnu_sparse()
}

/// A name without leading `./`.
fn relative_name(name: &Path) -> io::Result<PathBuf> {
    let mut relative = PathBuf::new();
    for part in name.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => relative.push(part),
            _ => return Err(escapes(name)),
        }
    }
    Ok(relative)
}

fn escapes(name: &Path) -> io::Error {
    let message = format!("invalid name in the stream: {}", visible_path(name));
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(builder: &mut Builder<Vec<u8>>, name: &str, kind: EntryType, link: Option<&str>) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        let text: &[u8] = if kind.is_file() { b"text" } else { b"" };
        header.set_size(text.len() as u64);
        // `set_path` rejects these names.
        let bytes = name.as_bytes();
        header.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
        if let Some(link) = link {
            header.as_gnu_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, text).unwrap();
    }

    type Row<'a> = (&'a str, EntryType, Option<&'a str>);

    fn unpacked(rows: &[Row<'_>]) -> (tempfile::TempDir, io::Result<Unpacked>) {
        unpacked_up_to(u64::MAX - 1, rows)
    }

    fn unpacked_up_to(max: u64, rows: &[Row<'_>]) -> (tempfile::TempDir, io::Result<Unpacked>) {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, link) in rows {
            entry(&mut builder, name, *kind, *link);
        }
        let bytes = builder.into_inner().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let staging = directory.path().join("staging");
        fs::create_dir(&staging).unwrap();
        let opened = Directory::open(&staging.canonicalize().unwrap()).unwrap();
        let result = unpack(bytes.as_slice(), &opened, max, &mut |_| {});
        (directory, result)
    }

    const DIR: EntryType = EntryType::Directory;
    const FILE: EntryType = EntryType::Regular;

    #[test]
    fn unpacks_directory_and_single_file() {
        let (root, result) = unpacked(&[
            ("./", DIR, None),
            ("./a/", DIR, None),
            ("./a/b", FILE, None),
        ]);
        assert_eq!(result.unwrap().files, 1);
        assert!(root.path().join("staging/item/a/b").is_file());
        let (root, result) = unpacked(&[("./name", FILE, None)]);
        assert_eq!(result.unwrap().bytes, 4);
        assert!(root.path().join("staging/item").is_file());
    }

    #[test]
    fn rejects_names_and_links_that_escape() {
        let escapes: [&[Row<'_>]; 9] = [
            // A single link, then an entry through it.
            &[
                ("./x", EntryType::Symlink, Some("..")),
                ("./evil", FILE, None),
            ],
            &[
                ("./x", EntryType::Symlink, Some("..")),
                ("./evil/", DIR, None),
            ],
            // A directory over a link, and one through it.
            &[
                ("./", DIR, None),
                ("./x", EntryType::Symlink, Some("../..")),
                ("./x/", DIR, None),
            ],
            &[
                ("./", DIR, None),
                ("./x", EntryType::Symlink, Some("../..")),
                ("./x/evil/", DIR, None),
            ],
            &[("./", DIR, None), ("./../evil", FILE, None)],
            &[("./", DIR, None), ("/evil", FILE, None)],
            &[
                ("./", DIR, None),
                ("./out", EntryType::Symlink, Some("../..")),
                ("./out/evil", FILE, None),
            ],
            &[("../evil", FILE, None)],
            &[
                ("./", DIR, None),
                ("./evil", EntryType::Link, Some("../../../../etc/passwd")),
            ],
        ];
        for rows in escapes {
            let (root, result) = unpacked(rows);
            assert!(result.is_err(), "{rows:?}");
            let mut files = fs::read_dir(root.path()).unwrap();
            assert_eq!(files.next().unwrap().unwrap().file_name(), "staging");
            assert!(files.next().is_none(), "{rows:?}");
        }
    }

    #[test]
    fn rewrite_prefixes_names() {
        let mut builder = Builder::new(Vec::new());
        entry(&mut builder, "./", DIR, None);
        entry(&mut builder, "./a", FILE, None);
        entry(&mut builder, "./b", FILE, None);
        let bytes = builder.into_inner().unwrap();
        let mut rewritten = Vec::new();
        let owner = Owner { uid: 5, gid: 6 };
        rewrite(bytes.as_slice(), &mut rewritten, owner, &mut |_| {}).unwrap();
        let mut archive = Archive::new(rewritten.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["item", "item/a", "item/b"]);
    }

    #[test]
    fn skips_and_reports_devices() {
        let (_root, result) = unpacked(&[("./", DIR, None), ("./null", EntryType::Char, None)]);
        assert_eq!(result.unwrap().skipped, ["null"]);
    }

    #[test]
    fn list_of_skipped_names_is_bounded() {
        let mut rows = vec![("./", DIR, None)];
        rows.extend((0..500).map(|_| ("./a\x1b[31m", EntryType::Fifo, None)));
        let (_root, result) = unpacked(&rows);
        let skipped = result.unwrap().skipped;
        assert_eq!(skipped.len(), MAX_SKIPPED + 1);
        assert_eq!(skipped[0], "a\\u{1b}[31m");
        assert_eq!(skipped.last().unwrap(), "…");
    }

    #[test]
    fn stops_at_the_limit() {
        let rows = [("./", DIR, None), ("./a", FILE, None), ("./b", FILE, None)];
        let needed = 3 * BLOCK_BYTES + 2 * 4;
        assert!(unpacked_up_to(needed, &rows).1.is_ok());
        let (_root, result) = unpacked_up_to(needed - 1, &rows);
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn hole_of_a_sparse_file_counts() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_mode(0o644);
        header.set_size(0);
        header.as_mut_bytes()[..3].copy_from_slice(b"./s");
        // A terabyte without any data.
        let gnu = header.as_gnu_mut().unwrap();
        gnu.realsize.copy_from_slice(&tar_number(1 << 40));
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        builder.append(&header, &b""[..]).unwrap();
        let bytes = builder.into_inner().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let staging = Directory::open(&directory.path().canonicalize().unwrap()).unwrap();
        let result = unpack(bytes.as_slice(), &staging, 1 << 20, &mut |_| {});
        assert!(result.is_err());
        let written = fs::metadata(directory.path().join(ITEM)).map_or(0, |about| about.len());
        assert!(written <= (1 << 20) + 1, "{written}");
    }

    /// The base-256 form of numbers that are too large for octal digits.
    fn tar_number(number: u64) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[4..].copy_from_slice(&number.to_be_bytes());
        bytes[0] = 0x80;
        bytes
    }

    #[test]
    fn rejects_empty_stream() {
        let (_root, result) = unpacked(&[]);
        assert!(result.is_err());
    }
}
