//! Images as files: a tar of `image.json`, `lima.yaml`, and the disk's data in pieces named by where they
//! belong (`disk/OFFSET`), so that holes take no room. All functions block.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::SeekFrom as Place;

use crate::backend::lima::copy::next;
use crate::backend::lima::images::{DISK, Images, META, Meta, unwritable, write_text};
use crate::backend::lima::json;
use crate::backend::lima::machine::directory::YAML;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Fingerprint, ImageName};

/// Bytes in one piece of a disk on its way.
const PIECE: u64 = 64 << 20;
/// A zero-filled block of this length is left out of a disk that comes in.
const BLOCK: usize = 64 * 1024;
/// The longest text in an image.
const TEXT_LIMIT: u64 = 1 << 20;
/// The largest disk that is taken in: 16 TiB, ext4's.
const DISK_LIMIT: u64 = 16 << 40;

impl Images {
    /// Writes an image as a tar.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(crate) fn export(&self, image: &Fingerprint, to: &mut dyn Write) -> Result<()> {
        let mut meta = self.meta(image)?;
        meta.aliases.clear();
        let (disk, yaml, _) = self.find(image)?;
        let failed = |error: io::Error| Error::io("the image can't be written", error);
        let text = serde_json::to_vec(&meta).map_err(|error| failed(error.into()))?;
        let mut archive = tar::Builder::new(to);
        append(&mut archive, META, &text).map_err(failed)?;
        append(&mut archive, YAML, yaml.as_bytes()).map_err(failed)?;
        let file = File::open(disk).map_err(failed)?;
        append_disk(&mut archive, &file, meta.length).map_err(failed)?;
        archive.finish().map_err(failed)
    }

    /// Takes an image in.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; `Engine` for bytes that are no image.
    pub(crate) fn import(&self, from: &mut dyn Read, alias: &ImageName) -> Result<Fingerprint> {
        self.expect_free(alias)?;
        let mut archive = tar::Archive::new(from);
        let mut entries = archive.entries().map_err(no_image)?;
        let mut text = |expected: &str| -> Result<String> {
            let entry = entries.next().ok_or_else(|| no_image("it is empty"))?;
            let mut entry = entry.map_err(no_image)?;
            let path = entry.path().map_err(no_image)?.into_owned();
            if path != Path::new(expected) {
                return Err(no_image(format!("{expected} is missing")));
            }
            let mut text = String::new();
            let read = entry.by_ref().take(TEXT_LIMIT).read_to_string(&mut text);
            read.map_err(no_image).map(|_| text)
        };
        let mut meta: Meta =
            json::parse(Path::new(META), text(META)?.as_bytes()).map_err(no_image)?;
        let yaml = text(YAML)?;
        if meta.length > DISK_LIMIT {
            return Err(no_image("its disk is too large"));
        }
        meta.aliases = vec![alias.to_string()];
        let length = meta.length;
        // One that is there already gets the name as well.
        if self.meta(&meta.fingerprint).is_ok() {
            let _lock = self.lock()?;
            let named = self.name_known(&meta)?;
            return named.ok_or_else(|| no_image("somebody has deleted it meanwhile"));
        }
        self.put(meta, |part| {
            write_text(&part.join(YAML), &yaml)?;
            let disk = File::create(part.join(DISK)).map_err(unwritable)?;
            disk.set_len(length).map_err(unwritable)?;
            for entry in entries {
                place(&mut entry.map_err(no_image)?, &disk, length)?;
            }
            disk.sync_all().map_err(unwritable)
        })
    }
}

fn no_image(why: impl ToString) -> Error {
    let message = format!("this is no image of Lima's: {}", why.to_string());
    Error::new(ErrorKind::Engine, message)
}

fn append(archive: &mut tar::Builder<&mut dyn Write>, name: &str, data: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, name, data)
}

/// The data of a disk, each piece under the place where it belongs.
fn append_disk(
    archive: &mut tar::Builder<&mut dyn Write>,
    mut disk: &File,
    length: u64,
) -> io::Result<()> {
    let mut at = 0;
    while let Some(start) = next(disk, Place::Data(at))? {
        let hole = next(disk, Place::Hole(start))?.unwrap_or(length);
        let end = hole.min(start + PIECE);
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

/// Writes a piece of a disk where it belongs, without its empty blocks.
fn place(entry: &mut tar::Entry<'_, &mut dyn Read>, mut disk: &File, length: u64) -> Result<()> {
    let path = entry.path().map_err(no_image)?.into_owned();
    let place = path.to_str().and_then(|path| path.strip_prefix("disk/"));
    let Some(mut at) = place.and_then(|place| place.parse::<u64>().ok()) else {
        return Err(no_image(format!("{} doesn't belong there", path.display())));
    };
    let end = entry.header().size().map_err(no_image)?.checked_add(at);
    if end.is_none_or(|end| end > length) {
        return Err(no_image("a piece lies beyond its disk"));
    }
    let mut block = vec![0; BLOCK];
    loop {
        let read = entry.read(&mut block).map_err(no_image)?;
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
    use crate::backend::lima::copy::held;
    use crate::backend::lima::images::new_fingerprint;
    use crate::backend::lima::images::tests::with_image;
    use std::fs;

    #[test]
    fn one_that_has_travelled_is_the_same_and_still_sparse() {
        let (_home, images, image) = with_image();
        let mut bytes = Vec::new();
        images.export(&image, &mut bytes).unwrap();
        assert!(bytes.len() < 4 << 20, "{} bytes", bytes.len());
        let elsewhere = tempfile::tempdir().unwrap();
        let there = Images::new(elsewhere.path());
        let name = "taken-in".parse().unwrap();
        assert_eq!(there.import(&mut bytes.as_slice(), &name).unwrap(), image);
        let (disk, yaml, architecture) = there.find(&image).unwrap();
        assert_eq!(
            (yaml.as_str(), architecture.as_str()),
            ("cpus: 1\n", "x86_64")
        );
        assert!(held(&disk) < 4 << 20);
        assert!(fs::read(disk).unwrap() == fs::read(images.find(&image).unwrap().0).unwrap());
    }

    #[test]
    fn what_is_no_image_leaves_nothing() {
        let (home, images, image) = with_image();
        let name: ImageName = "bad".parse().unwrap();
        let meta = Meta {
            fingerprint: new_fingerprint().unwrap(),
            length: 10,
            ..images.meta(&image).unwrap()
        };
        let mut outside = Vec::new();
        let mut archive = tar::Builder::new(&mut outside as &mut dyn Write);
        append(&mut archive, META, &serde_json::to_vec(&meta).unwrap()).unwrap();
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
