//! Changes of `containers.yaml`.

use jiff::Timestamp;

use super::schema::File;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, GuestPort, ImageName, Limits, SnapshotName, UserName};

pub(super) const CONTAINERS: &str = "containers";
pub(super) const SNAPSHOTS: &str = "snapshots";

/// One change of the file.
#[derive(Debug, Clone)]
pub enum Change {
    /// Adds an env, or sets values of an existing one.
    AddEnv(NewEnv),
    /// Adds a copy of an env as written, without snapshots.
    CloneEnv {
        /// The copied env.
        source: EnvName,
        env: EnvName,
    },
    /// Renames an env in place.
    RenameEnv {
        /// The old name.
        env: EnvName,
        new: EnvName,
    },
    /// Restores a removed env with its whole entry.
    RestoreEnv {
        env: EnvName,
        /// The file's text before the removal.
        before: String,
    },
    RemoveEnv {
        env: EnvName,
    },
    AddSnapshot {
        /// The snapshot's env.
        env: EnvName,
        snapshot: SnapshotName,
        /// One-line description.
        description: Option<String>,
        /// Creation time.
        created_at: Timestamp,
    },
    RemoveSnapshot {
        /// The snapshot's env.
        env: EnvName,
        snapshot: SnapshotName,
    },
}

/// The file's values of a new env; `None` is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEnv {
    pub env: EnvName,
    pub image: ImageName,
    /// Its ports, if not the defaults.
    pub ports: Option<Vec<GuestPort>>,
    /// Its user's name.
    pub user: Option<UserName>,
    pub limits: Limits,
}

impl NewEnv {
    /// An env with an image and default values.
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
}

impl Change {
    /// Checks that old names exist and new ones are free.
    ///
    /// # Errors
    /// `NotFound` and `AlreadyExists`.
    pub(super) fn ensure_names(&self, file: &File) -> Result<()> {
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
        let own = match self {
            Self::RenameEnv { env, .. } => Some(env),
            Self::AddEnv(NewEnv { env, .. }) => Some(env),
            _ => None,
        };
        let known = file.env_names();
        let taken = known
            .iter()
            .find(|known| Some(*known) != own && known.as_str().eq_ignore_ascii_case(new.as_str()));
        match taken {
            Some(taken) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("containers.yaml already has an env `{taken}`"),
            )),
            None => Ok(()),
        }
    }
}
