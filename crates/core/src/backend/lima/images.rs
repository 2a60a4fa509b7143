//! Images: disks of snapshots, kept below `LIMA_HOME/.lxc-dev-manager/images/FINGERPRINT/`.
//!
//! `disk`, `lima.yaml` (its source's settings, which say what else a machine of it needs), and
//! `image.json` with its names. An image's fingerprint is made up when it is made, and goes along when it
//! travels: the hash of a disk of many gigabytes would take minutes. As a file it is a tar of
//! `image.json`, `lima.yaml`, and the disk's data in pieces named by where they belong (`disk/OFFSET`),
//! so that holes take no room. All functions block.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{SeekFrom as Place, seek};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::copy::{copy, expect_room, held, sync_directory};
use super::directory::YAML;
use super::snapshots::make_directory;
use crate::backend::{Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::{Fingerprint, ImageName};

const META: &str = "image.json";
const DISK: &str = "disk";
/// Bytes in one piece of a disk on its way.
const PIECE: u64 = 64 << 20;
/// A zero-filled block of this length is left out of a disk that comes in.
const BLOCK: usize = 64 * 1024;
/// The longest text in an image.
const TEXT_LIMIT: u64 = 1 << 20;
/// The largest disk that is taken in: 16 TiB, ext4's.
const DISK_LIMIT: u64 = 16 << 40;

/// The images.
pub(super) struct Images {
    root: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Meta {
    version: u32,
    fingerprint: Fingerprint,
    #[serde(default)]
    aliases: Vec<String>,
    description: String,
    /// As Lima writes it: `aarch64`, `x86_64`.
    architecture: String,
    created_at: Timestamp,
    /// Length of the disk.
    length: u64,
}

/// What an image is made of.
pub(super) struct Source<'a> {
    pub(super) disk: &'a Path,
    pub(super) yaml: &'a str,
    pub(super) architecture: String,
    pub(super) description: String,
    pub(super) now: Timestamp,
}

impl Images {
    /// Those below our directory in `LIMA_HOME`.
    pub(super) fn new(ours: &Path) -> Self {
        Self {
            root: ours.join("images"),
        }
    }

    fn at(&self, image: &Fingerprint) -> PathBuf {
        self.root.join(image.as_str())
    }

    /// All of them. One that can't be read is left out.
    pub(super) fn all(&self) -> Vec<StoredImage> {
        let metas = self.metas().into_iter().map(|meta| StoredImage {
            size: held(&self.at(&meta.fingerprint).join(DISK)),
            fingerprint: meta.fingerprint,
            aliases: meta.aliases,
            description: meta.description,
            architecture: meta.architecture,
            created_at: Some(meta.created_at),
            cached: false,
        });
        metas.collect()
    }

    fn metas(&self) -> Vec<Meta> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let metas = entries.filter_map(|entry| {
            let name = Fingerprint::parse(entry.file_name().to_str()?).ok()?;
            let meta: Meta =
                serde_json::from_slice(&fs::read(entry.path().join(META)).ok()?).ok()?;
            (meta.fingerprint == name).then_some(meta)
        });
        metas.collect()
    }

    /// The one of this name.
    pub(super) fn named(&self, alias: &ImageName) -> Option<Fingerprint> {
        let has = |meta: &Meta| meta.aliases.iter().any(|known| known == alias.as_str());
        let found = self.metas().into_iter().find(has);
        found.map(|meta| meta.fingerprint)
    }

    /// Disk, settings and architecture of one.
    ///
    /// # Errors
    /// `NotFound`.
    pub(super) fn find(&self, image: &Fingerprint) -> Result<(PathBuf, String, String)> {
        let meta = self.meta(image)?;
        let directory = self.at(image);
        let yaml = fs::read_to_string(directory.join(YAML))
            .map_err(|error| Error::io(format!("image {} can't be read", image.short()), error))?;
        Ok((directory.join(DISK), yaml, meta.architecture))
    }

    fn meta(&self, image: &Fingerprint) -> Result<Meta> {
        let mut all = self.metas().into_iter();
        let found = all.find(|meta| meta.fingerprint == *image);
        found.ok_or_else(|| {
            let message = format!("Lima has no image {}", image.short());
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// Makes an image.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; `Engine` where there is no room; `Io`.
    pub(super) fn publish(
        &self,
        source: &Source<'_>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        self.expect_free(alias)?;
        make_directory(&self.root)?;
        self.sweep();
        expect_room(&self.root, &[source.disk])?;
        let length = fs::metadata(source.disk).map(|metadata| metadata.len());
        let meta = Meta {
            version: 1,
            fingerprint: new_fingerprint()?,
            aliases: vec![alias.to_string()],
            description: source.description.clone(),
            architecture: source.architecture.clone(),
            created_at: source.now,
            length: length.map_err(|error| Error::io("the disk can't be read", error))?,
        };
        self.put(meta, |part| {
            copy(source.disk, &part.join(DISK), progress)?;
            write_text(&part.join(YAML), source.yaml)
        })
    }

    /// Fills an image's directory and gives it its name.
    fn put(&self, meta: Meta, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Fingerprint> {
        self.sweep();
        let part = self.part();
        make_directory(&part)?;
        let whole = self.at(&meta.fingerprint);
        let made = fill(&part)
            .and_then(|()| write_json(&part.join(META), &meta))
            .and_then(|()| sync_directory(&part))
            .and_then(|()| rename(&part, &whole))
            .and_then(|()| sync_directory(&self.root));
        if made.is_err() {
            let _ = fs::remove_dir_all(&part);
        }
        made.map(|()| meta.fingerprint)
    }

    fn part(&self) -> PathBuf {
        self.root.join(format!(".part-{}", Uuid::new_v4()))
    }

    /// Deletes what an hour ago wasn't an image yet, or was none any more.
    pub(super) fn sweep(&self) {
        let hour = std::time::Duration::from_secs(3600);
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let age = entry.metadata().and_then(|found| found.modified());
            let is_old = age.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > hour));
            if is_old && entry.file_name().to_string_lossy().starts_with(".part-") {
                // The next one tries again.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn expect_free(&self, alias: &ImageName) -> Result<()> {
        match self.named(alias) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("Lima has an image `{alias}` already"),
            )),
        }
    }

    /// Deletes an image.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(super) fn delete(&self, image: &Fingerprint) -> Result<()> {
        self.meta(image)?;
        let part = self.part();
        rename(&self.at(image), &part)?;
        // It is gone by its name; what is left is swept.
        let _ = fs::remove_dir_all(&part);
        Ok(())
    }

    /// Gives a name another one.
    ///
    /// # Errors
    /// `NotFound` for the old, `AlreadyExists` for the new one.
    pub(super) fn rename(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        let image = self.named(alias).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("Lima has no image `{alias}`"))
        })?;
        self.expect_free(new)?;
        let mut meta = self.meta(&image)?;
        for known in &mut meta.aliases {
            if known == alias.as_str() {
                *known = new.to_string();
            }
        }
        write_json(&self.at(&image).join(META), &meta)
    }

    /// Writes an image as a tar.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(super) fn export(&self, image: &Fingerprint, to: &mut dyn Write) -> Result<()> {
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
    pub(super) fn import(&self, from: &mut dyn Read, alias: &ImageName) -> Result<Fingerprint> {
        self.expect_free(alias)?;
        make_directory(&self.root)?;
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
        let mut meta: Meta = serde_json::from_str(&text(META)?).map_err(no_image)?;
        let yaml = text(YAML)?;
        if meta.length > DISK_LIMIT {
            return Err(no_image("its disk is too large"));
        }
        if let Ok(mut known) = self.meta(&meta.fingerprint) {
            known.aliases.push(alias.to_string());
            write_json(&self.at(&meta.fingerprint).join(META), &known)?;
            return Ok(known.fingerprint);
        }
        meta.aliases = vec![alias.to_string()];
        let length = meta.length;
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

fn unwritable(error: io::Error) -> Error {
    Error::io("the image can't be written", error)
}

fn new_fingerprint() -> Result<Fingerprint> {
    let hash = Sha256::digest(Uuid::new_v4().as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Fingerprint::parse(&hex)
}

/// A fingerprint for what has no image of ours: a template, by its text.
pub(super) fn fingerprint_of(text: &str) -> Option<Fingerprint> {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Fingerprint::parse(&hex).ok()
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(unwritable)
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = fs::rename(from, to);
    renamed.map_err(|error| Error::io(format!("cannot rename {}", from.display()), error))
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

fn next(file: &File, from: Place) -> io::Result<Option<u64>> {
    match seek(file, from) {
        Ok(at) => Ok(Some(at)),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
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

    fn with_image() -> (tempfile::TempDir, Images, Fingerprint) {
        let home = tempfile::tempdir().unwrap();
        let disk = home.path().join("some-disk");
        let file = File::create(&disk).unwrap();
        file.set_len(200 << 20).unwrap();
        (&file).seek(SeekFrom::Start(130 << 20)).unwrap();
        (&file).write_all(b"in the middle").unwrap();
        let images = Images::new(home.path());
        let source = Source {
            disk: &disk,
            yaml: "cpus: 1\n",
            architecture: "x86_64".into(),
            description: "of web-dev".into(),
            now: Timestamp::now(),
        };
        let image = images.publish(&source, &"base".parse().unwrap(), &Progress::none());
        (home, images, image.unwrap())
    }

    #[test]
    fn names_are_unique_and_can_be_changed() {
        let (_home, images, image) = with_image();
        let (base, other) = ("base".parse().unwrap(), "other".parse().unwrap());
        assert_eq!(images.named(&base), Some(image.clone()));
        assert_eq!(
            images.rename(&base, &base).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert_eq!(
            images.rename(&other, &base).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        images.rename(&base, &other).unwrap();
        assert_eq!(images.named(&base), None);
        images.delete(&image).unwrap();
        assert_eq!(
            images.delete(&image).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(images.all().is_empty());
    }

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
        let (home, images, _) = with_image();
        let name: ImageName = "bad".parse().unwrap();
        let meta = Meta {
            fingerprint: new_fingerprint().unwrap(),
            length: 10,
            ..images.metas().remove(0)
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
