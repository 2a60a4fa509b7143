//! ImageStore: disks of snapshots in `LIMA_HOME/.lxc-dev-manager/images/FINGERPRINT/`.
//!
//! Files: `disk`, `lima.yaml` (settings of the source machine) and `image.json` (aliases). A fingerprint is random,
//! not a hash, which would take minutes for a large disk; it is kept on export and import. All functions block.
//!
//! Several processes may use the store. An incomplete image is in a directory locked by its creator; unlocked ones are
//! deleted. Aliases are read and assigned under a lock on the whole store, which isn't held while a disk is copied.

mod backend;
pub(crate) mod files;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::copy::{allocated, copy, ensure_room, sync_directory};
use super::json;
use super::machine::directory::YAML;
use super::snapshots::rename;
use crate::backend::{Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::home::{create_private_directory, write_json};
use crate::model::{Fingerprint, ImageName};

pub(crate) const METADATA_FILE: &str = "image.json";
pub(crate) const DISK: &str = "disk";
/// Name prefix of incomplete and deleted images.
const PARTIAL_PREFIX: &str = ".part-";

pub(crate) struct ImageStore {
    root: PathBuf,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageMetadata {
    pub(crate) version: u32,
    pub(crate) fingerprint: Fingerprint,
    #[serde(default)]
    pub(crate) aliases: Vec<String>,
    pub(crate) description: String,
    /// In Lima's spelling: `aarch64`, `x86_64`.
    pub(crate) architecture: String,
    pub(crate) created_at: Timestamp,
    /// Length of the disk in bytes.
    pub(crate) length: u64,
}

/// Content of a new image.
pub(crate) struct ImageSource<'a> {
    pub(crate) disk: &'a Path,
    pub(crate) yaml: &'a str,
    pub(crate) architecture: String,
    pub(crate) description: String,
    pub(crate) now: Timestamp,
}

impl ImageStore {
    /// Opens the store in the state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            root: state_dir.join("images"),
        }
    }

    fn at(&self, image: &Fingerprint) -> PathBuf {
        self.root.join(image.as_str())
    }

    /// Lists all images. An unreadable one has the error as its description.
    pub(crate) fn all(&self) -> Vec<StoredImage> {
        let all = self.read_all().into_iter().map(|(fingerprint, metadata)| {
            let size = allocated(&self.at(&fingerprint).join(DISK));
            match metadata {
                Ok(metadata) => StoredImage {
                    size,
                    fingerprint,
                    aliases: metadata.aliases,
                    description: metadata.description,
                    architecture: metadata.architecture,
                    created_at: Some(metadata.created_at),
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

    fn read_all(&self) -> Vec<(Fingerprint, Result<ImageMetadata>)> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let name = Fingerprint::parse(entry.file_name().to_str()?).ok()?;
            let metadata = json::read(&entry.path().join(METADATA_FILE));
            Some((name, metadata))
        });
        found.collect()
    }

    /// Aliases of an image of any format version.
    fn aliases(&self, image: &Fingerprint) -> Vec<String> {
        #[derive(Deserialize)]
        struct Names {
            aliases: Vec<String>,
        }
        let text = fs::read(self.at(image).join(METADATA_FILE)).unwrap_or_default();
        serde_json::from_slice(&text).map_or_else(|_| Vec::new(), |Names { aliases }| aliases)
    }

    pub(crate) fn find_alias(&self, alias: &ImageName) -> Option<Fingerprint> {
        let mut all = self
            .read_all()
            .into_iter()
            .map(|(fingerprint, _)| fingerprint);
        all.find(|image| {
            self.aliases(image)
                .iter()
                .any(|known| known == alias.as_str())
        })
    }

    /// Returns disk, settings and architecture of an image.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn find(&self, image: &Fingerprint) -> Result<(PathBuf, String, String)> {
        let metadata = self.metadata(image)?;
        let directory = self.at(image);
        let yaml = fs::read_to_string(directory.join(YAML))
            .map_err(|error| Error::io(format!("cannot read image {}", image.short()), error))?;
        Ok((directory.join(DISK), yaml, metadata.architecture))
    }

    pub(crate) fn metadata(&self, image: &Fingerprint) -> Result<ImageMetadata> {
        self.expect(image)?;
        json::read(&self.at(image).join(METADATA_FILE))
    }

    fn expect(&self, image: &Fingerprint) -> Result<()> {
        if self.at(image).is_dir() {
            Ok(())
        } else {
            let message = format!("Lima has no image {}", image.short());
            Err(Error::new(ErrorKind::NotFound, message))
        }
    }

    /// Creates an image.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias in use; `Engine` without enough space; `Io`.
    pub(crate) fn publish(
        &self,
        source: &ImageSource<'_>,
        alias: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        self.ensure_free(alias)?;
        create_private_directory(&self.root)?;
        ensure_room(&self.root, &[source.disk])?;
        let length = fs::metadata(source.disk).map(|metadata| metadata.len());
        let metadata = ImageMetadata {
            version: json::VERSION,
            fingerprint: new_fingerprint()?,
            aliases: vec![alias.to_string()],
            description: source.description.clone(),
            architecture: source.architecture.clone(),
            created_at: source.now,
            length: length.map_err(|error| Error::io("cannot read the disk", error))?,
        };
        self.add(metadata, |part| {
            copy(source.disk, &part.join(DISK), progress)?;
            write_text(&part.join(YAML), source.yaml)
        })
    }

    /// Fills an image's directory and publishes it. If the image exists meanwhile, it gets the aliases instead.
    pub(crate) fn add(
        &self,
        metadata: ImageMetadata,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Fingerprint> {
        let part = self.create_partial()?;
        fill(&part.path)?;
        let _lock = self.lock()?;
        if let Some(known) = self.add_aliases(&metadata)? {
            return Ok(known);
        }
        let final_path = self.at(&metadata.fingerprint);
        write_json(&part.path.join(METADATA_FILE), &metadata)?;
        sync_directory(&part.path)?;
        rename(&part.path, &final_path)?;
        sync_directory(&self.root)?;
        Ok(metadata.fingerprint)
    }

    /// Adds the aliases to the existing image of the same fingerprint, if any; the caller holds the lock.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias in use, `Io`.
    pub(crate) fn add_aliases(&self, metadata: &ImageMetadata) -> Result<Option<Fingerprint>> {
        for alias in &metadata.aliases {
            self.ensure_free(&ImageName::parse(alias)?)?;
        }
        let Ok(mut known) = self.metadata(&metadata.fingerprint) else {
            return Ok(None);
        };
        known.aliases.extend(metadata.aliases.iter().cloned());
        let file = self.at(&metadata.fingerprint).join(METADATA_FILE);
        write_json(&file, &known).map(|()| Some(known.fingerprint))
    }

    /// Locks the aliases until the returned file is dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        create_private_directory(&self.root)?;
        let locked = File::open(&self.root).and_then(|directory| {
            flock(&directory, FlockOperation::LockExclusive)?;
            Ok(directory)
        });
        locked.map_err(|error| Error::io(format!("cannot lock {}", self.root.display()), error))
    }

    /// Creates and locks the directory of an incomplete image.
    fn create_partial(&self) -> Result<PartialImage> {
        // Without the lock it could be swept before it is locked itself.
        let _lock = self.lock()?;
        self.sweep_locked();
        let path = self.partial_path();
        create_private_directory(&path)?;
        let locked = File::open(&path).and_then(|directory| {
            flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
            Ok(directory)
        });
        let failed = |error| Error::io(format!("cannot lock {}", path.display()), error);
        let directory_lock = locked.map_err(failed)?;
        Ok(PartialImage {
            path,
            _lock: directory_lock,
        })
    }

    fn partial_path(&self) -> PathBuf {
        self.root
            .join(format!("{PARTIAL_PREFIX}{}", Uuid::new_v4()))
    }

    /// Deletes incomplete and deleted images that no process has locked.
    ///
    /// # Errors
    /// `Io` if the store cannot be created or locked.
    pub(crate) fn sweep(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.sweep_locked();
        Ok(())
    }

    /// Like [`Self::sweep`]; the caller holds the lock.
    fn sweep_locked(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            if !entry
                .file_name()
                .to_string_lossy()
                .starts_with(PARTIAL_PREFIX)
            {
                continue;
            }
            let Ok(directory) = File::open(entry.path()) else {
                continue;
            };
            if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
                // Retried by the next sweep.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    pub(crate) fn ensure_free(&self, alias: &ImageName) -> Result<()> {
        match self.find_alias(alias) {
            None => Ok(()),
            Some(_) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("image `{alias}` already exists"),
            )),
        }
    }

    /// Deletes an image.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub(crate) fn delete(&self, image: &Fingerprint) -> Result<()> {
        let part = self.partial_path();
        {
            let _lock = self.lock()?;
            self.expect(image)?;
            rename(&self.at(image), &part)?;
        }
        // Already renamed; the rest is swept later.
        let _ = fs::remove_dir_all(&part);
        Ok(())
    }

    /// Renames an alias.
    ///
    /// # Errors
    /// `NotFound` for the old, `AlreadyExists` for the new alias.
    pub(crate) fn rename(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        let _lock = self.lock()?;
        let image = self.find_alias(alias).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("Lima has no image `{alias}`"))
        })?;
        self.ensure_free(new)?;
        let mut metadata = self.metadata(&image)?;
        for known in &mut metadata.aliases {
            if known == alias.as_str() {
                *known = new.to_string();
            }
        }
        write_json(&self.at(&image).join(METADATA_FILE), &metadata)
    }
}

/// The locked directory of an incomplete image.
struct PartialImage {
    path: PathBuf,
    _lock: File,
}

impl Drop for PartialImage {
    fn drop(&mut self) {
        // A complete image has been renamed; anything left is swept later.
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(crate) fn unwritable(error: io::Error) -> Error {
    Error::io("cannot write the image", error)
}

pub(crate) fn new_fingerprint() -> Result<Fingerprint> {
    let hash = Sha256::digest(Uuid::new_v4().as_bytes());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Fingerprint::parse(&hex)
}

/// Fingerprint of a template, which has no image: a hash of its text.
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

    pub(in crate::backend::lima) fn with_image() -> (tempfile::TempDir, ImageStore, Fingerprint) {
        let home = tempfile::tempdir().unwrap();
        let disk = home.path().join("some-disk");
        let file = File::create(&disk).unwrap();
        file.set_len(200 << 20).unwrap();
        (&file).seek(SeekFrom::Start(130 << 20)).unwrap();
        (&file).write_all(b"in the middle").unwrap();
        let images = ImageStore::new(home.path());
        let source = ImageSource {
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
    fn aliases_are_unique_and_can_be_renamed() {
        let (_home, images, image) = with_image();
        let (base, other) = ("base".parse().unwrap(), "other".parse().unwrap());
        assert_eq!(images.find_alias(&base), Some(image.clone()));
        assert_eq!(
            images.rename(&base, &base).unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        assert_eq!(
            images.rename(&other, &base).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        images.rename(&base, &other).unwrap();
        assert_eq!(images.find_alias(&base), None);
        images.delete(&image).unwrap();
        assert_eq!(
            images.delete(&image).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        assert!(images.all().is_empty());
    }

    /// Creates an image while `meanwhile` acts as another process.
    fn make(
        images: &ImageStore,
        alias: &str,
        meanwhile: impl FnOnce(&Path),
    ) -> Result<Fingerprint> {
        let metadata = ImageMetadata {
            fingerprint: new_fingerprint().unwrap(),
            aliases: vec![alias.to_owned()],
            ..images.read_all().remove(0).1.unwrap()
        };
        images.add(metadata, |part| {
            meanwhile(part);
            write_text(&part.join(YAML), "cpus: 1\n")
        })
    }

    #[test]
    fn concurrent_creators_cannot_share_an_alias() {
        let (home, images, _) = with_image();
        let mut first = None;
        let second = make(&images, "new", |_| {
            first = Some(make(&images, "new", |_| {}).unwrap());
        });
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(images.find_alias(&"new".parse().unwrap()), first);
        let left = fs::read_dir(home.path().join("images")).unwrap();
        assert_eq!(left.count(), 2);
    }

    #[test]
    fn sweeps_only_abandoned_images() {
        let (home, images, _) = with_image();
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
        let abandoned = home.path().join("images/.part-abandoned");
        create_private_directory(&abandoned).unwrap();
        make(&images, "slow", |part| {
            File::open(part).unwrap().set_modified(old).unwrap();
            make(&images, "quick", |_| {}).unwrap();
            assert!(part.exists(), "swept while in use");
        })
        .unwrap();
        assert!(!abandoned.exists());
        assert_eq!(images.all().len(), 3);
    }

    #[test]
    fn image_of_newer_version_keeps_alias_and_can_be_deleted() {
        let (_home, images, image) = with_image();
        let base = "base".parse().unwrap();
        let path = images.at(&image).join(METADATA_FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
        assert_eq!(images.find_alias(&base), Some(image.clone()));
        let error = images.find(&image).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.report().message.contains(METADATA_FILE), "{error:?}");
        let listed = images.all().remove(0);
        assert_eq!(listed.aliases, ["base"]);
        assert!(listed.description.contains("newer"), "{listed:?}");
        images.delete(&image).unwrap();
        assert_eq!(images.find_alias(&base), None);
    }
}
