//! Reading tar streams from guests, which are untrusted.

use std::cell::Cell;
use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use tar::{Archive, Builder, Entry, EntryType};

use super::directory::Directory;
use super::host::ITEM;
use super::pack::Owner;
use crate::escape::visible_path;

const BUFFER_BYTES: usize = 256 * 1024;
/// Size of a header in a tar stream.
const BLOCK_BYTES: u64 = 512;
/// Limit of the headers of one entry, which are read into memory: long names, extended attributes.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Limits of a name. A directory is open for each part of it while a tree is merged or deleted.
const MAX_NAME_BYTES: usize = 4096;
const MAX_DEPTH: usize = 200;
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

/// How many bytes the reader may take from the stream; `None` while it reads content.
type HeaderLimit = Rc<Cell<Option<u64>>>;

/// A stream that reports the number of bytes read.
struct Counted<'a, R> {
    inner: BufReader<R>,
    read: u64,
    headers: HeaderLimit,
    report: &'a mut dyn FnMut(u64),
}

impl<'a, R: Read> Counted<'a, R> {
    fn new(from: R, report: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, from),
            read: 0,
            headers: HeaderLimit::default(),
            report,
        }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.read += length as u64;
        (self.report)(self.read);
        if let Some(left) = self.headers.get() {
            let left = left.checked_sub(length as u64);
            let too_long = || io::Error::new(io::ErrorKind::InvalidData, "header is too long");
            self.headers.set(Some(left.ok_or_else(too_long)?));
        }
        Ok(length)
    }
}

/// Calls `each` with every entry of a stream, and its number.
fn for_each<'a, R: Read>(
    from: R,
    report: &'a mut dyn FnMut(u64),
    mut each: impl FnMut(usize, &mut Entry<'_, Counted<'a, R>>) -> io::Result<()>,
) -> io::Result<()> {
    let counted = Counted::new(from, report);
    let headers = counted.headers.clone();
    let mut archive = Archive::new(counted);
    let mut entries = archive.entries()?;
    for number in 0.. {
        headers.set(Some(MAX_HEADER_BYTES));
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        headers.set(None);
        each(number, &mut entry)?;
        // What is left would count as headers.
        io::copy(&mut entry, &mut io::sink())?;
    }
    Ok(())
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
    let mut limit = Limit { left: max };
    let mut unpacked = Unpacked::default();
    // A directory gets its mode after its files are written.
    let mut directories = Vec::new();
    // The first entry is the item: a directory, or a file and then the only entry.
    let mut root = None;
    for_each(from, report, |number, entry| {
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
            unpacked.count(entry);
            let done = match &root {
                Some(root) => {
                    let parent = root.descend(name.parent().unwrap_or(Path::new("")), true);
                    let file = name.file_name().ok_or_else(|| escapes(&name))?;
                    parent.and_then(|parent| {
                        unpack_file(entry, Some(root), &parent, file, &mut limit)
                    })
                }
                None => unpack_file(entry, None, staging, OsStr::new(ITEM), &mut limit),
            };
            done.map_err(|error| at(&name, error))?;
        }
        Ok(())
    })?;
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
            let written = io::copy(&mut entry.take(limit.left.saturating_add(1)), &mut &file)?;
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
///
/// # Errors
/// Those of [`unpack`].
pub(super) fn rewrite(
    from: impl Read,
    to: impl Write,
    owner: Owner,
    max: u64,
    report: &mut dyn FnMut(u64),
) -> io::Result<Unpacked> {
    let mut limit = Limit { left: max };
    let mut builder = Builder::new(io::BufWriter::with_capacity(BUFFER_BYTES, to));
    let mut unpacked = Unpacked::default();
    let mut is_directory = false;
    for_each(from, report, |number, entry| {
        let name = relative_name(&entry.path()?)?;
        let kind = entry.header().entry_type();
        limit.take(BLOCK_BYTES)?;
        if number == 0 {
            is_directory = kind.is_dir();
        }
        if !is_supported(kind) && !kind.is_dir() {
            unpacked.skip(&name);
            return Ok(());
        }
        // Before the first byte: the reader fills the holes of sparse files.
        limit.take(entry.size())?;
        unpacked.count(entry);
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
            None => builder.append_data(&mut header, prefixed(name), entry)?,
        }
        Ok(())
    })?;
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
    let is_short = name.as_os_str().len() <= MAX_NAME_BYTES;
    if !is_short || relative.components().count() > MAX_DEPTH {
        let message = "a name in the stream is too long";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(relative)
}

fn escapes(name: &Path) -> io::Error {
    let message = format!("invalid name in the stream: {}", visible_path(name));
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests;
