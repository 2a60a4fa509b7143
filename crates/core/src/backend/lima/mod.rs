//! Lima: a virtual machine for each instance, by the program `limactl` and the files of `LIMA_HOME`.
//!
//! `limactl` makes, starts, stops, deletes and lists machines ([`limactl`], [`drafts`], [`machines`], [`list`]).
//! Everything else is in their directories ([`directory`]): what they do, how they are reached
//! ([`reach`]), what happens to them ([`events`]). What Lima doesn't know of is ours and lies beside
//! them: a record in each machine's directory ([`record`]), and below `LIMA_HOME/.lxc-dev-manager`
//! snapshots, images, and what isn't complete. Commands and ports go by SSH, in this process
//! ([`exec`], [`route`]).
//!
//! Two things are unlike an engine of containers. A disk can only be copied while nobody writes to it, so
//! a snapshot of a running machine stops it for a moment, or its guest holds it still ([`keep`], [`still`]); and nobody
//! but its own system can read it, so a stopped machine is started where a file of it is asked for.

mod copy;
mod diagnose;
mod events;
mod guest;
mod images;
mod json;
mod lifecycle;
mod limactl;
mod machine;
mod snapshots;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::SyncIoBridge;
use tokio_util::sync::CancellationToken;

use super::{
    Backend, BackendEvent, Capabilities, CopySpec, ExecIo, ExecSpec, Finding, GuestFile, Image,
    Instance, LaunchSpec, Leftover, Marks, Progress, Route, Settings, Space, StoredImage, Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    EngineId, EngineKind, EngineProject, Fingerprint, ImageName, InstanceName, SnapshotName,
};
use crate::template::Templates;

use guest::connection::{self, Reach};
use guest::session_pool::SessionPool;
use guest::{exec, files, route};
use images::Images;
use limactl::{Limactl, list};
use machine::directory::Directory;
use machine::record::Record;
use machine::settings;

/// Our directory in `LIMA_HOME`; Lima passes over names that begin with a dot.
const OURS: &str = ".lxc-dev-manager";
/// What to do where the volume is full.
const FULL_HINT: &str = "the volume of LIMA_HOME is full: free what undo keeps with \
     `lxc-dev-manager gc --all`, or delete snapshots or machines";
/// Bytes of an image on their way.
const BUFFER: usize = 1 << 20;
/// How long until somebody looks again whether Lima is there.
const RETURN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long what a killed caller has begun may go on.
const SETTLE_PATIENCE: Duration = Duration::from_secs(240);

/// Where Lima and its machines are.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `limactl`, where the user says which.
    pub limactl: Option<PathBuf>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// The user's home.
    pub user_home: Option<PathBuf>,
    /// `LIMA_HOME`, else `.lima` in the user's home.
    pub lima_home: PathBuf,
    /// A private, empty directory of ours.
    pub empty: PathBuf,
    /// The user's own templates.
    pub templates: PathBuf,
}

/// The machines of one `LIMA_HOME`.
#[derive(Clone)]
pub struct Lima {
    id: EngineId,
    limactl: Arc<Limactl>,
    templates: Templates,
    session_pool: SessionPool,
}

impl Lima {
    /// Nothing is asked or started yet.
    #[must_use]
    pub fn new(surroundings: Surroundings) -> Self {
        let Surroundings {
            limactl,
            path,
            user_home,
            lima_home,
            empty,
            templates,
        } = surroundings;
        let id = EngineId {
            kind: EngineKind::Lima,
            address: lima_home.display().to_string(),
            project: EngineProject::default_one(),
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

    fn directory(&self, name: &InstanceName) -> Directory {
        Directory::new(self.limactl.home(), name)
    }

    fn ours(&self) -> PathBuf {
        self.limactl.home().join(OURS)
    }

    fn images_of_ours(&self) -> Images {
        Images::new(&self.ours())
    }

    /// # Errors
    /// `Unreachable` where there is no Lima.
    fn expect_installed(&self) -> Result<()> {
        match self.is_installed() {
            true => Ok(()),
            false => Err(limactl::absent()),
        }
    }

    /// A machine's record.
    ///
    /// # Errors
    /// `NotOurs` for a machine without one: it is never touched.
    fn record(&self, name: &InstanceName, machine: &Directory) -> Result<Record> {
        Record::read(machine, name)?.ok_or_else(|| {
            let message = format!("the machine `{name}` isn't ours");
            Error::new(ErrorKind::NotOurs, message)
        })
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "work on files broke off").caused_by(error))
    })
}

fn missing(name: &InstanceName) -> Error {
    Error::new(ErrorKind::NotFound, format!("Lima has no machine `{name}`"))
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
        let ours = self.ours();
        snapshots::make_directory(&ours)?;
        Ok(Capabilities {
            server: format!("{} {version}", EngineKind::Lima),
            copy_on_write: copy::shares(&ours),
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
        })
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        let said = list::ask(&self.limactl).await?;
        self.look_at_all(true, |name, machine| list::status(said.get(name), machine))
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        self.expect_installed()?;
        self.expect_no_rubble(&self.directory(name))?;
        let machine = self.existing(name)?;
        self.look(name, machine.status(), true)
    }

    async fn list_brief(&self) -> Result<Vec<Instance>> {
        self.expect_installed()?;
        self.look_at_all(false, |_, machine| machine.status())
    }

    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.expect_installed()?;
        let machine = self.existing(name)?;
        self.look(name, machine.status(), false)
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage> {
        self.look_inside(name).await
    }

    async fn pool_space(&self) -> Result<Option<Space>> {
        let home = self.limactl.home();
        snapshots::make_directory(home)?;
        copy::space(home).map(Some)
    }

    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>> {
        self.weigh(name, snapshot).map(Some)
    }

    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        self.expect_installed()?;
        if let Some(fingerprint) = self.images_of_ours().named(name) {
            return Ok(Image::Local { fingerprint });
        }
        let template = self.templates.for_image(name)?;
        Ok(Image::Template {
            name: template.name.to_string(),
        })
    }

    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let made = settings::of_new(spec, &self.templates, &self.images_of_ours())?;
        let mut record = Record::new(&spec.name);
        record.set_marks(&spec.marks);
        record.set_settings(&spec.settings);
        record.base_image = made.base_image;
        record.is_new = made.is_copy;
        record.written = made.written;
        record.defaults = made.defaults;
        record.template_mounts = made.template_mounts;
        self.make(&made.yaml, record, &spec.name, progress, cancel)
            .await
    }

    async fn copy(
        &self,
        spec: &CopySpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        if cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "stopped by the user"));
        }
        self.expect_installed()?;
        self.sweep().await;
        let (lima, spec, progress) = (self.clone(), spec.clone(), progress.clone());
        blocking(move || lima.copy_machine(&spec, &progress)).await
    }

    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()> {
        let machine = self.existing(name)?;
        let record = self.record(name, &machine)?;
        settings::change(&machine, record, settings)
    }

    async fn start(&self, name: &InstanceName) -> Result<()> {
        self.expect_installed()?;
        self.start_machine(name).await
    }

    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()> {
        self.expect_installed()?;
        self.stop_machine(name, force).await
    }

    async fn delete(&self, name: &InstanceName) -> Result<()> {
        self.expect_installed()?;
        self.delete_machine(name).await
    }

    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        self.expect_installed()?;
        self.rename_machine(name, new)
    }

    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()> {
        let machine = self.existing(name)?;
        let mut record = self.record(name, &machine)?;
        record.set_marks(marks);
        record.write(&machine)
    }

    async fn snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        expires_at: Option<Timestamp>,
        progress: &Progress,
    ) -> Result<()> {
        self.expect_installed()?;
        self.keep(name, snapshot, expires_at, progress).await
    }

    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        progress: &Progress,
    ) -> Result<()> {
        self.set_back(name, snapshot, progress).await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        let machine = self.existing(name)?;
        let snapshots = self.snapshots(&self.record(name, &machine)?);
        let wanted = snapshot.clone();
        blocking(move || {
            // It may be the one that a machine is on its way back to.
            snapshots.finish_restore(&machine)?;
            snapshots.delete(&wanted)
        })
        .await
    }

    async fn images(&self) -> Result<Vec<StoredImage>> {
        self.expect_installed()?;
        Ok(self.images_of_ours().all())
    }

    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        progress: &Progress,
        _cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        self.publish_snapshot(name, snapshot, alias, progress).await
    }

    async fn delete_image(&self, image: &Fingerprint) -> Result<()> {
        self.images_of_ours().delete(image)
    }

    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        self.images_of_ours().rename(alias, new)
    }

    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        _progress: &Progress,
    ) -> Result<()> {
        let (images, image) = (self.images_of_ours(), image.clone());
        let (ours, mut theirs) = tokio::io::duplex(BUFFER);
        let written = blocking(move || images.export(&image, &mut SyncIoBridge::new(ours)));
        let sent = async {
            let sent = tokio::io::copy(&mut theirs, to).await;
            sent.map_err(|error| Error::io("the image can't be written", error))
        };
        tokio::try_join!(written, sent).map(drop)
    }

    async fn import_image(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        _progress: &Progress,
    ) -> Result<Fingerprint> {
        self.expect_installed()?;
        let (images, alias) = (self.images_of_ours(), alias.clone());
        blocking(move || images.import(&mut SyncIoBridge::new(from), &alias)).await
    }

    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile> {
        self.awake(name, files::read(self, name, path)).await
    }

    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()> {
        let file = files::in_memory(file).await?;
        self.awake(name, files::write(self, name, path, file)).await
    }

    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()> {
        self.awake(name, files::delete(self, name, path)).await
    }

    fn own_key(&self) -> Result<Option<String>> {
        connection::own_key(self.limactl.home()).map(Some)
    }

    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        let reach = Reach::of(self.limactl.home(), name).map_err(|error| match error.kind() {
            ErrorKind::Conflict => Error::new(ErrorKind::Engine, format!("`{name}` doesn't run")),
            _ => error,
        })?;
        let session_pool = self.session_pool.clone();
        exec::run(
            exec::Shell {
                reach,
                session_pool,
            },
            spec,
            io,
        )
        .await
    }

    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>> {
        let reach = Reach::of(self.limactl.home(), name)?;
        let address = self.brief(name).await?.address;
        Ok(Arc::new(route::LimaRoute::new(reach, address)))
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

    async fn settle(&self, name: &InstanceName) -> Result<()> {
        self.limactl.calls().settle(name, SETTLE_PATIENCE).await?;
        self.sweep_after(name).await;
        Ok(())
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        self.expect_installed()?;
        events::stream(self.limactl.home())
    }

    async fn returned(&self) {
        tokio::time::sleep(RETURN_TIMEOUT).await;
    }
}
