//! Reading tar streams from guests, which are untrusted.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, Entry, EntryType};

use super::host::ITEM;
use super::pack::Owner;

const BUFFER_BYTES: usize = 256 * 1024;

/// The result of [`unpack`] and [`rewrite`].
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) skipped: Vec<String>,
}

impl Unpacked {
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

/// Unpacks a stream as [`ITEM`] in `staging`. Names and links of the stream cannot escape from it.
///
/// # Errors
/// `InvalidData` for a name that escapes; those of reading and writing.
pub(super) fn unpack(
    from: impl Read,
    staging: &Path,
    report: &mut dyn FnMut(u64),
) -> io::Result<Unpacked> {
    let mut archive = Archive::new(Counted::new(from, report));
    archive.set_overwrite(false);
    let item = staging.join(ITEM);
    let mut unpacked = Unpacked::default();
    // A directory gets its mode after its files are written.
    let mut directories = Vec::new();
    // The first entry is the item: a directory, or a file and then the only entry.
    let mut is_directory = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = relative_name(&entry.path()?)?;
        let kind = entry.header().entry_type();
        match is_directory {
            None => is_directory = Some(kind.is_dir()),
            Some(true) => {}
            Some(false) => return Err(escapes(&name)),
        }
        if kind.is_dir() {
            create_directory(&item, &name)?;
            directories.push((item.join(&name), entry.header().mode()? & 0o777));
        } else if !is_supported(kind) {
            unpacked.skipped.push(name.display().to_string());
        } else if is_directory == Some(true) {
            unpacked.count(&entry);
            create_directory(&item, name.parent().unwrap_or(Path::new("")))?;
            if name.as_os_str().is_empty() || !entry.unpack_in(&item)? {
                return Err(escapes(&name));
            }
        } else {
            unpacked.count(&entry);
            unpack_file(&mut entry, staging, &name, &item)?;
        }
    }
    if fs::symlink_metadata(&item).is_err() {
        let message = "the stream is empty";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    for (directory, mode) in directories.into_iter().rev() {
        // Always writable for the owner, so that it can be moved or deleted.
        set_mode(&directory, mode | 0o700)?;
    }
    Ok(unpacked)
}

/// Creates a directory and its parents in `below`. A link among them is an error: it may point outside.
fn create_directory(below: &Path, name: &Path) -> io::Result<()> {
    let mut directory = below.to_path_buf();
    let parts = [None].into_iter().chain(name.components().map(Some));
    for part in parts {
        directory.extend(part);
        match fs::symlink_metadata(&directory) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(escapes(name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(&directory)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn set_mode(directory: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(directory)?;
    opened.set_permissions(fs::Permissions::from_mode(mode))
}

fn unpack_file<R: Read>(
    entry: &mut Entry<'_, R>,
    staging: &Path,
    name: &Path,
    item: &Path,
) -> io::Result<()> {
    if name.components().count() != 1 || !entry.unpack_in(staging)? {
        return Err(escapes(name));
    }
    fs::rename(staging.join(name), item)
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
            unpacked.skipped.push(name.display().to_string());
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
    let message = format!("invalid name in the stream: {}", name.display());
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
        let mut builder = Builder::new(Vec::new());
        for (name, kind, link) in rows {
            entry(&mut builder, name, *kind, *link);
        }
        let bytes = builder.into_inner().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let staging = directory.path().join("staging");
        fs::create_dir(&staging).unwrap();
        let result = unpack(bytes.as_slice(), &staging, &mut |_| {});
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
    fn rejects_empty_stream() {
        let (_root, result) = unpacked(&[]);
        assert!(result.is_err());
    }
}
