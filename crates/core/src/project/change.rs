//! What may be changed in `containers.yaml`.

use jiff::Timestamp;

use super::schema::File;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort, ImageName, Limits, SnapshotName, UserName};

/// One change of the file.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new env, or values of one that the file names already.
    AddEnv(NewEnv),
    /// A new env that has what another one has, as it is written there, but no snapshots.
    CloneEnv {
        /// The one that is copied.
        source: EnvName,
        /// The new one's name.
        env: EnvName,
    },
    /// An env has another name; its place and all below it stay.
    RenameEnv {
        /// Its name until now.
        env: EnvName,
        /// Its name from now on.
        new: EnvName,
    },
    /// A removed env is back, with all that stood below it.
    PutBack {
        /// Its name.
        env: EnvName,
        /// The file's text before it was removed.
        before: String,
    },
    /// An env is gone.
    RemoveEnv {
        /// Its name.
        env: EnvName,
    },
    /// A snapshot was taken.
    AddSnapshot {
        /// Of which env.
        env: EnvName,
        /// Its name.
        snapshot: SnapshotName,
        /// A line about it.
        description: Option<String>,
        /// When it was made.
        created_at: Timestamp,
    },
    /// A snapshot is gone.
    RemoveSnapshot {
        /// Of which env.
        env: EnvName,
        /// Its name.
        snapshot: SnapshotName,
    },
}

/// What the file is to say of an env that is made; what is `None` is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnv {
    /// Its name.
    pub env: EnvName,
    /// Its image.
    pub image: ImageName,
    /// Its ports, where they differ from the defaults.
    pub ports: Option<Vec<GuestPort>>,
    /// Its user's name.
    pub user: Option<UserName>,
    /// Its limits.
    pub limits: Limits,
}

impl NewEnv {
    /// An env with an image, and everything else as the defaults have it.
    #[must_use]
    pub fn new(env: EnvName, image: ImageName) -> Self {
        Self {
            env,
            image,
            ports: None,
            user: None,
            limits: Limits::default(),
        }
    }

    /// The same, one value at a time.
    pub(super) fn one_by_one(&self) -> Vec<Self> {
        let plain = || Self::new(self.env.clone(), self.image.clone());
        let limited = |limits| Self { limits, ..plain() };
        let Limits { cpus, memory, disk } = self.limits;
        let none = Limits::default();
        vec![
            plain(),
            Self {
                ports: self.ports.clone(),
                ..plain()
            },
            Self {
                user: self.user.clone(),
                ..plain()
            },
            limited(Limits { cpus, ..none }),
            limited(Limits { memory, ..none }),
            limited(Limits { disk, ..none }),
        ]
    }
}

impl Change {
    /// A file's text after this change.
    ///
    /// # Errors
    /// `Config` where the text can't be read, or where the change can't be made without losing
    /// something; the hint says what to write by hand. `NotFound` and `AlreadyExists` for names.
    pub fn apply(&self, text: &str) -> Result<String> {
        super::edit::apply(text, self)
    }

    /// Whether the names in it can be what they are meant to be: old ones there, new ones free.
    ///
    /// # Errors
    /// `NotFound` and `AlreadyExists`.
    pub(super) fn expect_names(&self, file: &File) -> Result<()> {
        let (old, new) = match self {
            Self::CloneEnv { source, env } => (Some(source), env),
            Self::RenameEnv { env, new } => (Some(env), new),
            Self::AddEnv(NewEnv { env, .. }) => (None, env),
            _ => return Ok(()),
        };
        if let Some(old) = old.filter(|old| file.entry(old).is_none()) {
            let message = format!("containers.yaml has no env `{old}`");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let itself = match self {
            Self::RenameEnv { env, .. } => Some(env),
            Self::AddEnv(NewEnv { env, .. }) => Some(env),
            _ => None,
        };
        let known = file.env_names();
        let taken = known.iter().find(|known| {
            Some(*known) != itself && known.as_str().eq_ignore_ascii_case(new.as_str())
        });
        match taken {
            Some(taken) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("containers.yaml has an env `{taken}` already"),
            )),
            None => Ok(()),
        }
    }
}
