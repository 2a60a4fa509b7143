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
    let mut archive = Archive::new(BufReader::with_capacity(PIECE, from));
    archive.set_overwrite(false);
    let item = staging.join(ITEM);
    let mut unpacked = Unpacked::default();
    // A directory gets its mode when its files are there: it may be one that can't be written.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = inner(&entry.path()?)?;
        let kind = entry.header().entry_type();
        let is_root = name.as_os_str().is_empty();
        if kind.is_dir() {
            fs::create_dir_all(item.join(&name))?;
            directories.push((item.join(&name), entry.header().mode()? & 0o777));
        } else if !is_plain(kind) {
            unpacked.skipped.push(name.display().to_string());
        } else if item.is_dir() && !is_root {
            unpacked.count(&entry);
            if !entry.unpack_in(&item)? {
                return Err(leads_out(&name));
            }
            report(unpacked.bytes);
        } else {
            // One file alone, which is all of the stream.
            unpacked.count(&entry);
            unpack_alone(&mut entry, staging, &name, &item)?;
            report(unpacked.bytes);
        }
    }
    if !item.exists() && !item.is_symlink() {
        let message = "the stream is empty";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    for (directory, mode) in directories.into_iter().rev() {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode))?;
    }
    Ok(unpacked)
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
    let mut archive = Archive::new(BufReader::with_capacity(PIECE, from));
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
        report(unpacked.bytes);
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
        let escapes: [&[Row<'_>]; 5] = [
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
