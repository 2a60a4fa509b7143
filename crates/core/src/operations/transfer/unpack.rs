//! Reading a tar stream that comes from a guest, whom nobody trusts.

use std::fs;
use std::io::{self, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, Builder, Entry, EntryType};

use super::ITEM;
use super::pack::Owner;

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

/// What was read.
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

/// A stream that tells how many bytes of it were read.
struct Counted<'a, R> {
    inner: BufReader<R>,
    read: u64,
    report: &'a mut dyn FnMut(u64),
}

impl<'a, R: Read> Counted<'a, R> {
    fn new(from: R, report: &'a mut dyn FnMut(u64)) -> Self {
        Self {
            inner: BufReader::with_capacity(PIECE, from),
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

/// Unpacks a stream below `staging`, as [`ITEM`]. Nothing is written outside of it, whatever names and
/// links the stream has; who unpacks owns the files.
///
/// # Errors
/// Those of reading and writing; `InvalidData` for a name that leads out.
pub(super) fn unpack(
    from: impl Read,
    staging: &Path,
    report: &mut dyn FnMut(u64),
) -> io::Result<Unpacked> {
    let mut archive = Archive::new(Counted::new(from, report));
    archive.set_overwrite(false);
    let item = staging.join(ITEM);
    let mut unpacked = Unpacked::default();
    // A directory gets its mode when its files are there.
    let mut directories = Vec::new();
    // The first entry is the item itself: a directory, or one file that is all of the stream.
    let mut is_directory = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = inner(&entry.path()?)?;
        let kind = entry.header().entry_type();
        match is_directory {
            None => is_directory = Some(kind.is_dir()),
            Some(true) => {}
            Some(false) => return Err(leads_out(&name)),
        }
        if kind.is_dir() {
            make_directory(&item, &name)?;
            directories.push((item.join(&name), entry.header().mode()? & 0o777));
        } else if !is_plain(kind) {
            unpacked.skipped.push(name.display().to_string());
        } else if is_directory == Some(true) {
            unpacked.count(&entry);
            make_directory(&item, name.parent().unwrap_or(Path::new("")))?;
            if name.as_os_str().is_empty() || !entry.unpack_in(&item)? {
                return Err(leads_out(&name));
            }
        } else {
            unpacked.count(&entry);
            unpack_alone(&mut entry, staging, &name, &item)?;
        }
    }
    if fs::symlink_metadata(&item).is_err() {
        let message = "the stream is empty";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    for (directory, mode) in directories.into_iter().rev() {
        // Its owner can always write in it: it has to be moved yet, and may have to be deleted.
        set_mode(&directory, mode | 0o700)?;
    }
    Ok(unpacked)
}

/// Makes a directory below another with all between them, none of which may be a link: the stream may
/// have brought one that leads out.
fn make_directory(below: &Path, name: &Path) -> io::Result<()> {
    let mut directory = below.to_path_buf();
    let parts = [None].into_iter().chain(name.components().map(Some));
    for part in parts {
        directory.extend(part);
        match fs::symlink_metadata(&directory) {
            Ok(about) if about.is_dir() => {}
            Ok(_) => return Err(leads_out(name)),
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

fn unpack_alone<R: Read>(
    entry: &mut Entry<'_, R>,
    staging: &Path,
    name: &Path,
    item: &Path,
) -> io::Result<()> {
    if name.components().count() != 1 || !entry.unpack_in(staging)? {
        return Err(leads_out(name));
    }
    fs::rename(staging.join(name), item)
}

/// Passes a stream on under the names and to the owner that [`super::RECEIVE`] wants.
pub(super) fn pass_on(
    from: impl Read,
    to: impl Write,
    owner: Owner,
    report: &mut dyn FnMut(u64),
) -> io::Result<Unpacked> {
    let mut archive = Archive::new(Counted::new(from, report));
    let mut builder = Builder::new(io::BufWriter::with_capacity(PIECE, to));
    let mut unpacked = Unpacked::default();
    let mut is_directory = false;
    for (number, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        let name = inner(&entry.path()?)?;
        let kind = entry.header().entry_type();
        if number == 0 {
            is_directory = kind.is_dir();
        }
        if !is_plain(kind) && !kind.is_dir() {
            unpacked.skipped.push(name.display().to_string());
            continue;
        }
        unpacked.count(&entry);
        let prefixed = |name: PathBuf| match is_directory && !name.as_os_str().is_empty() {
            true => Path::new(ITEM).join(name),
            false => PathBuf::from(ITEM),
        };
        let mut header = entry.header().clone();
        header.set_uid(owner.uid.into());
        header.set_gid(owner.gid.into());
        if kind.is_file() || kind.is_gnu_sparse() {
            // What is read of a sparse file has its holes filled.
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
                builder.append_link(&mut header, prefixed(name), prefixed(inner(&link)?))?;
            }
            Some(link) => builder.append_link(&mut header, prefixed(name), link)?,
            None => builder.append_data(&mut header, prefixed(name), &mut entry)?,
        }
    }
    builder.into_inner()?.flush()?;
    Ok(unpacked)
}

fn is_plain(kind: EntryType) -> bool {
    kind.is_file() || kind.is_symlink() || kind.is_hard_link() || kind.is_gnu_sparse()
}

/// A name without the `./` that it begins with.
fn inner(name: &Path) -> io::Result<PathBuf> {
    let mut inner = PathBuf::new();
    for part in name.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => inner.push(part),
            _ => return Err(leads_out(name)),
        }
    }
    Ok(inner)
}

fn leads_out(name: &Path) -> io::Error {
    let message = format!("{} leads out of what is copied", name.display());
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
        // Not `set_path`, which refuses what is tried here.
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
    fn a_directory_and_a_single_file_are_unpacked_as_the_item() {
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
    fn nothing_is_written_outside() {
        let escapes: [&[Row<'_>]; 9] = [
            // A link alone, and then what would go through it.
            &[
                ("./x", EntryType::Symlink, Some("..")),
                ("./evil", FILE, None),
            ],
            &[
                ("./x", EntryType::Symlink, Some("..")),
                ("./evil/", DIR, None),
            ],
            // A directory over a link, and one below it.
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
            let mut beside = fs::read_dir(root.path()).unwrap();
            assert_eq!(beside.next().unwrap().unwrap().file_name(), "staging");
            assert!(beside.next().is_none(), "{rows:?}");
        }
    }

    #[test]
    fn a_stream_is_passed_on_as_the_item() {
        let mut builder = Builder::new(Vec::new());
        entry(&mut builder, "./", DIR, None);
        entry(&mut builder, "./a", FILE, None);
        entry(&mut builder, "./b", FILE, None);
        let bytes = builder.into_inner().unwrap();
        let mut passed = Vec::new();
        let owner = Owner { uid: 5, gid: 6 };
        pass_on(bytes.as_slice(), &mut passed, owner, &mut |_| {}).unwrap();
        let mut archive = Archive::new(passed.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["item", "item/a", "item/b"]);
    }

    #[test]
    fn devices_are_left_out_and_named() {
        let (_root, result) = unpacked(&[("./", DIR, None), ("./null", EntryType::Char, None)]);
        assert_eq!(result.unwrap().skipped, ["null"]);
    }

    #[test]
    fn an_empty_stream_is_an_error() {
        let (_root, result) = unpacked(&[]);
        assert!(result.is_err());
    }
}
