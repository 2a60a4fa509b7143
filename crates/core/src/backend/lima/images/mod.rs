//! Images: disks of snapshots, kept below `LIMA_HOME/.lxc-dev-manager/images/FINGERPRINT/`.
//!
//! `disk`, `lima.yaml` (its source's settings, which say what else a machine of it needs), and
//! `image.json` with its names. An image's fingerprint is made up when it is made, and goes along when it
//! travels: the hash of a disk of many gigabytes would take minutes. All functions block.
//!
//! Several processes may be at it. What is being made lies in a directory that its maker holds locked, so what
//! nobody holds is swept. Names are looked at and given under a lock of them all, which nobody holds while a disk
//! is copied.

pub(crate) mod files;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::backend::lima::copy::{copy, expect_room, held, sync_directory};
use crate::backend::lima::json;
use crate::backend::lima::machine::directory::YAML;
use crate::backend::lima::snapshots::{make_directory, rename};
use crate::backend::{Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::home::write_json;
use crate::model::{Fingerprint, ImageName};

pub(crate) const META: &str = "image.json";
pub(crate) const DISK: &str = "disk";
/// How the names of what isn't an image yet, or is none any more, begin.
const PART: &str = ".part-";

/// The images.
pub(crate) struct Images {
    root: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) version: u32,
    pub(crate) fingerprint: Fingerprint,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    pub(crate) description: String,
    /// As Lima writes it: `aarch64`, `x86_64`.
    pub(crate) architecture: String,
    pub(crate) created_at: Timestamp,
    /// Length of the disk.
    pub(crate) length: u64,
}

/// What an image is made of.
pub(crate) struct Source<'a> {
    pub(crate) disk: &'a Path,
    pub(crate) yaml: &'a str,
    pub(crate) architecture: String,
    pub(crate) description: String,
    pub(crate) now: Timestamp,
}

impl Images {
    /// Those below our directory in `LIMA_HOME`.
    pub(crate) fn new(ours: &Path) -> Self {
        Self {
            root: ours.join("images"),
        }
    }

    fn at(&self, image: &Fingerprint) -> PathBuf {
        self.root.join(image.as_str())
    }

    /// All of them. One that can't be read says so.
    pub(crate) fn all(&self) -> Vec<StoredImage> {
        let all = self.found().into_iter().map(|(fingerprint, meta)| {
            let size = held(&self.at(&fingerprint).join(DISK));
            match meta {
                Ok(meta) => StoredImage {
                    size,
                    fingerprint,
                    aliases: meta.aliases,
                    description: meta.description,
                    architecture: meta.architecture,
                    created_at: Some(meta.created_at),
                    cached: false,
                },
                Err(error) => StoredImage {
                    size,
                    aliases: self.aliases(&fingerprint),
                    fingerprint,
                    description: error.report().message,
                    architecture: String::new(),
                    created_at: None,
                    cached: false,
                },
            }
        });
        all.collect()
    }

    fn found(&self) -> Vec<(Fingerprint, Result<Meta>)> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let name = Fingerprint::parse(entry.file_name().to_str()?).ok()?;
            let meta = json::read(&entry.path().join(META));
            Some((name, meta))
        });
        found.collect()
    }

    /// The names of one, of whatever version.
    fn aliases(&self, image: &Fingerprint) -> Vec<String> {
        #[derive(Deserialize)]
        struct Names {
            aliases: Vec<String>,
        }
        let text = fs::read(self.at(image).join(META)).unwrap_or_default();
        serde_json::from_slice(&text).map_or_else(|_| Vec::new(), |Names { aliases }| aliases)
    }

    /// The one of this name.
    pub(crate) fn named(&self, alias: &ImageName) -> Option<Fingerprint> {
        let mut all = self.found().into_iter().map(|(fingerprint, _)| fingerprint);
        all.find(|image| {
            self.aliases(image)
                .iter()
                .any(|known| known == alias.as_str())
        })
    }

    /// Disk, settings and architecture of one.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn find(&self, image: &Fingerprint) -> Result<(PathBuf, String, String)> {
        let meta = self.meta(image)?;
        let directory = self.at(image);
        let yaml = fs::read_to_string(directory.join(YAML))
            .map_err(|error| Error::io(format!("image {} can't be read", image.short()), error))?;
        Ok((directory.join(DISK), yaml, meta.architecture))
    }

    pub(crate) fn meta(&self, image: &Fingerprint) -> Result<Meta> {
        self.expect(image)?;
        json::read(&self.at(image).join(META))
    }

    fn expect(&self, image: &Fingerprint) -> Result<()> {
        match self.at(image).is_dir() {
            true => Ok(()),
            false => {
                let message = format!("Lima has no image {}", image.short());
                Err(Error::new(ErrorKind::NotFound, message))
            }
        }
    }

    /// Makes an image.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; `Engine` where there is no room; `Io`.
    pub(crate) fn publish(
        &self,
        source: &Source<'_>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        self.expect_free(alias)?;
        make_directory(&self.root)?;
        expect_room(&self.root, &[source.disk])?;
        let length = fs::metadata(source.disk).map(|metadata| metadata.len());
        let meta = Meta {
            version: json::VERSION,
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

    /// Fills an image's directory and gives it its names. Where it has come meanwhile, that one gets them as well.
    pub(crate) fn put(
        &self,
        meta: Meta,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Fingerprint> {
        let part = self.begin()?;
        fill(&part.path)?;
        let _lock = self.lock()?;
        if let Some(known) = self.name_known(&meta)? {
            return Ok(known);
        }
        let whole = self.at(&meta.fingerprint);
        write_json(&part.path.join(META), &meta)?;
        sync_directory(&part.path)?;
        rename(&part.path, &whole)?;
        sync_directory(&self.root)?;
        Ok(meta.fingerprint)
    }

    /// Gives an image that is there another's names, if it is; the caller has the lock.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken, `Io`.
    pub(crate) fn name_known(&self, meta: &Meta) -> Result<Option<Fingerprint>> {
        for alias in &meta.aliases {
            self.expect_free(&ImageName::parse(alias)?)?;
        }
        let Ok(mut known) = self.meta(&meta.fingerprint) else {
            return Ok(None);
        };
        known.aliases.extend(meta.aliases.iter().cloned());
        let file = self.at(&meta.fingerprint).join(META);
        write_json(&file, &known).map(|()| Some(known.fingerprint))
    }

    /// Waits until nobody else looks at names or gives any; until the file is dropped nobody does.
    pub(crate) fn lock(&self) -> Result<File> {
        make_directory(&self.root)?;
        let locked = File::open(&self.root).and_then(|directory| {
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        });
        locked.map_err(|error| Error::io(format!("cannot lock {}", self.root.display()), error))
    }

    /// Makes the directory of an image that isn't one yet.
    fn begin(&self) -> Result<Part> {
        // Between its making and its lock it would be swept.
        let _lock = self.lock()?;
        self.sweep_locked();
        let path = self.part();
        make_directory(&path)?;
        let held = File::open(&path).and_then(|directory| {
            flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
            Ok(directory)
        });
        let failed = |error| Error::io(format!("cannot lock {}", path.display()), error);
        let _held = held.map_err(failed)?;
        Ok(Part { path, _held })
    }

    fn part(&self) -> PathBuf {
        self.root.join(format!("{PART}{}", Uuid::new_v4()))
    }

    /// Deletes what isn't an image yet, or is none any more, and that nobody holds.
    ///
    /// # Errors
    /// `Io` where there is no place for images, or it can't be locked.
    pub(crate) fn sweep(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.sweep_locked();
        Ok(())
    }

    /// The same, where the caller has the lock.
    fn sweep_locked(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(PART) {
                continue;
            }
            let Ok(directory) = File::open(entry.path()) else {
                continue;
            };
            if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // The next one tries again.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    pub(crate) fn expect_free(&self, alias: &ImageName) -> Result<()> {
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
    pub(crate) fn delete(&self, image: &Fingerprint) -> Result<()> {
        let part = self.part();
        {
            let _lock = self.lock()?;
            self.expect(image)?;
            rename(&self.at(image), &part)?;
        }
        // It is gone by its name; what is left is swept.
        let _ = fs::remove_dir_all(&part);
        Ok(())
    }

    /// Gives a name another one.
    ///
    /// # Errors
    /// `NotFound` for the old, `AlreadyExists` for the new one.
    pub(crate) fn rename(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        let _lock = self.lock()?;
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
}

/// A directory that its maker holds.
struct Part {
    path: PathBuf,
    _held: File,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Where it has become an image, it isn't there any more; what stays is swept.
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(crate) fn unwritable(error: io::Error) -> Error {
    Error::io("the image can't be written", error)
}

pub(crate) fn new_fingerprint() -> Result<Fingerprint> {
    let hash = Sha256::digest(Uuid::new_v4().as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Fingerprint::parse(&hex)
}

/// A fingerprint for what has no image of ours: a template, by its text.
pub(crate) fn fingerprint_of(text: &str) -> Option<Fingerprint> {
    let hash = Sha256::digest(text.as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Fingerprint::parse(&hex).ok()
}

pub(crate) fn write_text(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(unwritable)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom, Write};

    pub(in crate::backend::lima) fn with_image() -> (tempfile::TempDir, Images, Fingerprint) {
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

    /// What another process does while one makes an image.
    fn make(images: &Images, alias: &str, meanwhile: impl FnOnce(&Path)) -> Result<Fingerprint> {
        let meta = Meta {
            fingerprint: new_fingerprint().unwrap(),
            aliases: vec![alias.to_owned()],
            ..images.found().remove(0).1.unwrap()
        };
        images.put(meta, |part| {
            meanwhile(part);
            write_text(&part.join(YAML), "cpus: 1\n")
        })
    }

    #[test]
    fn of_two_that_take_a_name_at_once_one_gets_it() {
        let (home, images, _) = with_image();
        let mut quicker = None;
        let slower = make(&images, "new", |_| {
            quicker = Some(make(&images, "new", |_| {}).unwrap());
        });
        assert_eq!(slower.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(images.named(&"new".parse().unwrap()), quicker);
        let left = fs::read_dir(home.path().join("images")).unwrap();
        assert_eq!(left.count(), 2);
    }

    #[test]
    fn only_what_nobody_makes_any_more_is_swept() {
        let (home, images, _) = with_image();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        let abandoned = home.path().join("images/.part-abandoned");
        make_directory(&abandoned).unwrap();
        make(&images, "slow", |part| {
            File::open(part).unwrap().set_modified(old).unwrap();
            make(&images, "quick", |_| {}).unwrap();
            assert!(part.exists(), "it was swept while it was made");
        })
        .unwrap();
        assert!(!abandoned.exists());
        assert_eq!(images.all().len(), 3);
    }

    #[test]
    fn one_of_a_newer_version_keeps_its_name_and_can_be_deleted() {
        let (_home, images, image) = with_image();
        let base = "base".parse().unwrap();
        let path = images.at(&image).join(META);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert_eq!(images.named(&base), Some(image.clone()));
        let error = images.find(&image).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().message.contains(META), "{error:?}");
        let listed = images.all().remove(0);
        assert_eq!(listed.aliases, ["base"]);
        assert!(listed.description.contains("newer"), "{listed:?}");
        images.delete(&image).unwrap();
        assert_eq!(images.named(&base), None);
    }
}
