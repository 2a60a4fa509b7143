//! The backend over the machines of one `LIMA_HOME`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::backend::{Backend, BackendEvent, Capabilities, Finding, Leftover, Space};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind, EngineProject, InstanceName};
use crate::template::Templates;

use super::blocking::blocking;
use super::guest::session_pool::SessionPool;
use super::images::ImageStore;
use super::limactl::Limactl;
use super::machine::directory::Directory;
use super::machine::record::Record;
use super::state_dir::STATE_DIR;
use super::{copy, diagnose, events, limactl};

/// Interval between checks whether Lima has been installed.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Where to find Lima and its machines.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Path of `limactl`, if set by the user.
    pub limactl: Option<PathBuf>,
    pub path: Option<OsString>,
    /// The user's home directory.
    pub user_home: Option<PathBuf>,
    /// `LIMA_HOME`, or `.lima` in the user's home.
    pub lima_home: PathBuf,
    /// A private, empty directory: the working directory of `limactl`.
    pub empty: PathBuf,
    /// Directory of the user's templates.
    pub templates: PathBuf,
}

/// The machines of one `LIMA_HOME`.
#[derive(Clone)]
pub struct Lima {
    pub(super) id: EngineId,
    pub(super) limactl: Arc<Limactl>,
    pub(super) templates: Templates,
    pub(super) session_pool: SessionPool,
}

impl Lima {
    /// Creates the backend without running anything.
    #[must_use]
    pub fn new(environment: Environment) -> Self {
        let Environment {
            limactl,
            path,
            user_home,
            lima_home,
            empty,
            templates,
        } = environment;
        let id = EngineId {
            kind: EngineKind::Lima,
            address: lima_home.display().to_string(),
            project: EngineProject::default_project(),
        };
        Self {
            id,
            limactl: Arc::new(Limactl::find(
                limactl,
                path,
                user_home.as_deref(),
                lima_home,
                empty,
            )),
            templates: Templates::new(templates),
            session_pool: SessionPool::default(),
        }
    }

    pub(super) fn directory(&self, name: &InstanceName) -> Directory {
        Directory::new(self.limactl.home(), name)
    }

    pub(super) fn state_dir(&self) -> PathBuf {
        self.limactl.home().join(STATE_DIR)
    }

    pub(super) fn image_store(&self) -> ImageStore {
        ImageStore::new(&self.state_dir())
    }

    /// # Errors
    /// `Unreachable` without Lima.
    pub(super) fn ensure_installed(&self) -> Result<()> {
        if self.is_installed() {
            Ok(())
        } else {
            Err(limactl::not_installed())
        }
    }

    /// Reads a machine's record.
    ///
    /// # Errors
    /// `NotOurs` for a foreign machine, which is never changed.
    pub(super) fn record(&self, name: &InstanceName, machine: &Directory) -> Result<Record> {
        Record::read(machine, name)?.ok_or_else(|| {
            let message = format!("machine `{name}` was not created by lxc-dev-manager");
            Error::new(ErrorKind::NotOurs, message)
        })
    }
}

#[async_trait]
impl Backend for Lima {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn is_installed(&self) -> bool {
        self.limactl.program().is_some()
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        let version = self.limactl.version().await?;
        let state_dir = self.state_dir();
        crate::home::create_private_directory(&state_dir)?;
        Ok(Capabilities {
            server: format!("{} {version}", EngineKind::Lima),
            copy_on_write: copy::supports_reflinks(&state_dir),
            restore_keeps_later_snapshots: true,
            snapshots: true,
            snapshot_expiry: false,
            limits: true,
            copies_running: false,
            snapshots_running: false,
            renews_identity: true,
            autostart: false,
            disks_shrink: false,
            addresses: false,
            native_forwards: true,
            rosetta: cfg!(all(target_os = "macos", target_arch = "aarch64")),
            settings_at_start: true,
            bind_mounts: false,
        })
    }

    async fn pool_space(&self) -> Result<Option<Space>> {
        let home = self.limactl.home();
        crate::home::create_private_directory(home)?;
        copy::space(home).map(Some)
    }

    async fn diagnose(&self) -> Result<Vec<Finding>> {
        diagnose::all(self).await
    }

    async fn leftovers(&self) -> Result<Vec<Leftover>> {
        self.orphans()
    }

    async fn delete_leftover(&self, id: &str) -> Result<()> {
        let (lima, id) = (self.clone(), id.to_owned());
        blocking(move || lima.delete_orphan(&id)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        self.ensure_installed()?;
        events::stream(self.limactl.home())
    }

    async fn returned(&self) {
        tokio::time::sleep(RECHECK_INTERVAL).await;
    }
}
