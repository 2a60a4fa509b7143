//! Export and import of images: a tar of `image.json`, `lima.yaml` and the disk's data in chunks named by offset
//! (`disk/OFFSET`), so that holes take no space. All functions block.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::SeekFrom as Whence;

use super::super::copy::seek_next;
use super::super::json;
use super::super::machine::directory::YAML;
use super::{DISK, ImageMetadata, ImageStore, METADATA_FILE, unwritable, write_text};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Fingerprint, ImageName};

const MAX_CHUNK_BYTES: u64 = 64 << 20;
/// Zero-filled blocks of this length are skipped on import.
const BLOCK_BYTES: usize = 64 * 1024;
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// 16 TiB, the limit of ext4.
const MAX_DISK_BYTES: u64 = 16 << 40;

impl ImageStore {
    /// Writes an image as a tar.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(crate) fn export(&self, image: &Fingerprint, to: &mut dyn Write) -> Result<()> {
        let mut metadata = self.metadata(image)?;
        metadata.aliases.clear();
        let (disk, yaml, _) = self.find(image)?;
        let failed = unwritable;
        let text = serde_json::to_vec(&metadata).map_err(|error| failed(error.into()))?;
        let mut archive = tar::Builder::new(to);
        append(&mut archive, METADATA_FILE, &text).map_err(failed)?;
        append(&mut archive, YAML, yaml.as_bytes()).map_err(failed)?;
        let file = File::open(disk).map_err(failed)?;
        append_disk(&mut archive, &file, metadata.length).map_err(failed)?;
        archive.finish().map_err(failed)
    }

    /// Imports an image.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias in use; `Engine` for invalid data.
    pub(crate) fn import(&self, from: &mut dyn Read, alias: &ImageName) -> Result<Fingerprint> {
        self.ensure_free(alias)?;
        let mut archive = tar::Archive::new(from);
        let mut entries = archive.entries().map_err(invalid_image)?;
        let mut text = |expected: &str| -> Result<String> {
            let entry = entries.next().ok_or_else(|| invalid_image("it is empty"))?;
            let mut entry = entry.map_err(invalid_image)?;
            let path = entry.path().map_err(invalid_image)?.into_owned();
            if path != Path::new(expected) {
                return Err(invalid_image(format!("{expected} is missing")));
            }
            let mut text = String::new();
            let read = entry
                .by_ref()
                .take(MAX_TEXT_BYTES)
                .read_to_string(&mut text);
            read.map_err(invalid_image).map(|_| text)
        };
        let mut metadata: ImageMetadata =
            json::parse(Path::new(METADATA_FILE), text(METADATA_FILE)?.as_bytes())
                .map_err(invalid_image)?;
        let yaml = text(YAML)?;
        if metadata.length > MAX_DISK_BYTES {
            return Err(invalid_image("its disk is too large"));
        }
        metadata.aliases = vec![alias.to_string()];
        let length = metadata.length;
        // An existing image gets the alias as well.
        if self.metadata(&metadata.fingerprint).is_ok() {
            let _lock = self.lock()?;
            let named = self.add_aliases(&metadata)?;
            return named.ok_or_else(|| invalid_image("it was deleted during the import"));
        }
        self.add(metadata, |part| {
            write_text(&part.join(YAML), &yaml)?;
            let disk = File::create(part.join(DISK)).map_err(unwritable)?;
            disk.set_len(length).map_err(unwritable)?;
            for entry in entries {
                write_chunk(&mut entry.map_err(invalid_image)?, &disk, length)?;
            }
            disk.sync_all().map_err(unwritable)
        })
    }
}

fn invalid_image(reason: impl ToString) -> Error {
    let message = format!("not a Lima image: {}", reason.to_string());
    Error::new(ErrorKind::Engine, message)
}

fn append(archive: &mut tar::Builder<&mut dyn Write>, name: &str, data: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, data)
}

/// Appends the data of a disk in chunks named by offset.
fn append_disk(
    archive: &mut tar::Builder<&mut dyn Write>,
    mut disk: &File,
    length: u64,
) -> io::Result<()> {
    let mut at = 0;
    while let Some(start) = seek_next(disk, Whence::Data(at))? {
        let hole = seek_next(disk, Whence::Hole(start))?.unwrap_or(length);
        let end = hole.min(start + MAX_CHUNK_BYTES);
        disk.seek(SeekFrom::Start(start))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(end - start);
        header.set_mode(0o600);
        archive.append_data(
            &mut header,
            format!("{DISK}/{start}"),
            disk.take(end - start),
        )?;
        at = end;
    }
    Ok(())
}

/// Writes a chunk at its offset, skipping empty blocks.
fn write_chunk(
    entry: &mut tar::Entry<'_, &mut dyn Read>,
    mut disk: &File,
    length: u64,
) -> Result<()> {
    let path = entry.path().map_err(invalid_image)?.into_owned();
    let offset = path.to_str().and_then(|path| path.strip_prefix("disk/"));
    let Some(mut at) = offset.and_then(|offset| offset.parse::<u64>().ok()) else {
        return Err(invalid_image(format!(
            "unexpected entry {}",
            path.display()
        )));
    };
    let end = entry
        .header()
        .size()
        .map_err(invalid_image)?
        .checked_add(at);
    if end.is_none_or(|end| end > length) {
        return Err(invalid_image("a chunk lies beyond the end of its disk"));
    }
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let read = entry.read(&mut block).map_err(invalid_image)?;
        if read == 0 {
            return Ok(());
        }
        if block[..read].iter().any(|byte| *byte != 0) {
            disk.seek(SeekFrom::Start(at)).map_err(unwritable)?;
            disk.write_all(&block[..read]).map_err(unwritable)?;
        }
        at += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::lima::copy::allocated;
    use crate::backend::lima::images::new_fingerprint;
    use crate::backend::lima::images::tests::with_image;
    use std::fs;

    #[test]
    fn exported_image_is_imported_unchanged_and_sparse() {
        let (_home, images, image) = with_image();
        let mut bytes = Vec::new();
        images.export(&image, &mut bytes).unwrap();
        assert!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
        let other = tempfile::tempdir().unwrap();
        let imported = ImageStore::new(other.path());
        let name = "imported".parse().unwrap();
        assert_eq!(
            imported.import(&mut bytes.as_slice(), &name).unwrap(),
            image
        );
        let (disk, yaml, architecture) = imported.find(&image).unwrap();
        assert_eq!(
            (yaml.as_str(), architecture.as_str()),
            ("cpus: 1\n", "x86_64")
        );
        assert!(allocated(&disk) < 4 << 20);
        assert!(fs::read(disk).unwrap() == fs::read(images.find(&image).unwrap().0).unwrap());
    }

    #[test]
    fn failed_import_leaves_no_files() {
        let (home, images, image) = with_image();
        let name: ImageName = "bad".parse().unwrap();
        let metadata = ImageMetadata {
            fingerprint: new_fingerprint().unwrap(),
            length: 10,
            ..images.metadata(&image).unwrap()
        };
        let mut outside = Vec::new();
        let mut archive = tar::Builder::new(&mut outside as &mut dyn Write);
        append(
            &mut archive,
            METADATA_FILE,
            &serde_json::to_vec(&metadata).unwrap(),
        )
        .unwrap();
        append(&mut archive, YAML, b"").unwrap();
        append(&mut archive, "disk/8", b"beyond").unwrap();
        archive.finish().unwrap();
        drop(archive);
        for bytes in [vec![7; 5000], Vec::new(), outside] {
            let error = images.import(&mut bytes.as_slice(), &name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Engine);
        }
        assert_eq!(fs::read_dir(home.path().join("images")).unwrap().count(), 1);
    }
}
