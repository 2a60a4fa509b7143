//! The fake as a [`Backend`].

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::route::FakeRoute;
use super::state::{Held, Kept};
use super::{Fake, Pool, files, guest, images, route};
use crate::backend::{
    Backend, BackendEvent, Capabilities, CopySpec, ExecIo, ExecSpec, GuestFile, Image, Instance,
    LaunchSpec, Marks, Progress, Route, Settings, Space, StoredImage, Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EnvStatus, Fingerprint, ImageName, InstanceName, SnapshotName};

#[async_trait]
impl Backend for Fake {
    fn id(&self) -> &EngineId {
        &self.id
    }

    fn is_installed(&self) -> bool {
        !self.lock().absent
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        let state = self.call("capabilities")?;
        Ok(Capabilities {
            server: "fake 1".to_owned(),
            copy_on_write: self.pool != Pool::Dir,
            restore_keeps_later_snapshots: self.pool != Pool::Zfs,
            snapshots: !state.forbids_snapshots,
            snapshot_expiry: true,
            limits: true,
            copies_running: true,
            snapshots_running: true,
            renews_identity: false,
            autostart: true,
            disks_shrink: true,
            addresses: true,
            native_forwards: false,
            rosetta: false,
            settings_at_start: false,
        })
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        self.answering().await;
        let state = self.call("instances")?;
        let instances = state.instances.iter();
        Ok(instances.map(|(name, held)| held.view(name)).collect())
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        let mut state = self.call("instance")?;
        state.held(name).map(|held| held.view(name))
    }

    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        images::find(&*self.call("find_image")?, name)
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage> {
        let mut state = self.call("usage")?;
        let held = state.held(name)?;
        held.expect(name, EnvStatus::Running)?;
        Ok(Usage {
            processes: Some(1),
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            ..Usage::default()
        })
    }

    async fn pool_space(&self) -> Result<Option<Space>> {
        let state = self.call("pool_space")?;
        Ok(Some(Space {
            used: state.instances.values().map(Held::held).sum(),
            total: state.pool_size,
        }))
    }

    async fn held_bytes(
        &self,
        name: &InstanceName,
        snapshot: Option<&SnapshotName>,
    ) -> Result<Option<u64>> {
        let mut state = self.call("held_bytes")?;
        let held = state.held(name)?;
        let bytes = match snapshot {
            Some(snapshot) => held.held_by(&held.snapshots[held.position(name, snapshot)?]),
            None => held.held(),
        };
        // As the real ones on a directory.
        Ok((self.pool != Pool::Dir).then_some(bytes))
    }

    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.travel(|| {
            if cancel.is_cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "stopped by the user"));
            }
            let mut state = self.call("create")?;
            state.expect_free(&spec.name)?;
            let Image::Local { fingerprint } = &spec.image else {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the fake engine downloads nothing",
                ));
            };
            let image = state.images.get(fingerprint).cloned().unwrap_or_default();
            progress.step("unpacking", Some(100));
            let new = Held {
                status: EnvStatus::Stopped,
                marks: spec.marks.clone(),
                settings: spec.settings.clone(),
                base_image: Some(fingerprint.clone()),
                files: image.files,
                snapshots: Vec::new(),
                location: None,
                boots: 0,
                services: BTreeMap::new(),
            };
            state.instances.insert(spec.name.clone(), new);
            drop(state);
            self.changed(&spec.name);
            Ok(())
        })
        .await
    }

    async fn copy(
        &self,
        spec: &CopySpec,
        _progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.travel(|| {
            if cancel.is_cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "stopped by the user"));
            }
            let mut state = self.call("copy")?;
            state.expect_free(&spec.name)?;
            let source = state.held(&spec.source)?;
            let files = match &spec.snapshot {
                Some(snapshot) => source.snapshots[source.position(&spec.source, snapshot)?]
                    .files
                    .clone(),
                None => source.files.clone(),
            };
            let new = Held {
                status: EnvStatus::Stopped,
                marks: spec.marks.clone(),
                settings: source.settings.clone(),
                base_image: source.base_image.clone(),
                files,
                snapshots: Vec::new(),
                location: None,
                boots: 0,
                services: BTreeMap::new(),
            };
            state.instances.insert(spec.name.clone(), new);
            drop(state);
            self.changed(&spec.name);
            Ok(())
        })
        .await
    }

    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("configure")?;
            state.held(name)?.settings = settings.clone();
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn start(&self, name: &InstanceName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("start")?;
            let held = state.held(name)?;
            held.expect(name, EnvStatus::Stopped)?;
            held.status = EnvStatus::Running;
            held.boots += 1;
            drop(state);
            self.tell(BackendEvent::Started(name.clone()));
            Ok(())
        })
        .await
    }

    async fn stop(&self, name: &InstanceName, _force: bool) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("stop")?;
            let held = state.held(name)?;
            held.expect(name, EnvStatus::Running)?;
            held.status = EnvStatus::Stopped;
            held.services.clear();
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn delete(&self, name: &InstanceName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("delete")?;
            state.held(name)?.expect(name, EnvStatus::Stopped)?;
            state.instances.remove(name);
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("rename")?;
            state.held(name)?.expect(name, EnvStatus::Stopped)?;
            state.expect_free(new)?;
            if let Some(held) = state.instances.remove(name) {
                state.instances.insert(new.clone(), held);
            }
            drop(state);
            self.tell(BackendEvent::Renamed {
                old: name.clone(),
                new: new.clone(),
            });
            Ok(())
        })
        .await
    }

    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("set_marks")?;
            state.held(name)?.marks = marks.clone();
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn snapshot(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        _expires_at: Option<Timestamp>,
        _progress: &Progress,
    ) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("snapshot")?;
            if state.forbids_snapshots {
                let message = "the fake engine forbids snapshots";
                return Err(Error::new(ErrorKind::Engine, message));
            }
            let held = state.held(name)?;
            if held.snapshots.iter().any(|kept| kept.name == *snapshot) {
                let message = format!("`{name}` has a snapshot `{snapshot}` already");
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            held.snapshots.push(Kept {
                name: snapshot.clone(),
                created_at: Timestamp::now(),
                files: held.files.clone(),
            });
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn restore(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        _progress: &Progress,
    ) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("restore")?;
            let held = state.held(name)?;
            held.expect(name, EnvStatus::Stopped)?;
            let position = held.position(name, snapshot)?;
            held.files = held.snapshots[position].files.clone();
            if self.pool == Pool::Zfs {
                held.snapshots.truncate(position + 1);
            }
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn delete_snapshot(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("delete_snapshot")?;
            let held = state.held(name)?;
            let position = held.position(name, snapshot)?;
            held.snapshots.remove(position);
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn images(&self) -> Result<Vec<StoredImage>> {
        Ok(images::list(&*self.call("images")?))
    }

    async fn publish(
        &self,
        name: &InstanceName,
        snapshot: &SnapshotName,
        alias: &ImageName,
        _progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        let mut made = None;
        self.travel(|| {
            if cancel.is_cancelled() {
                return Err(Error::new(ErrorKind::Cancelled, "stopped by the user"));
            }
            let mut state = self.call("publish")?;
            let held = state.held(name)?;
            let files = held.snapshots[held.position(name, snapshot)?].files.clone();
            made = Some(images::add(&mut state, files, alias)?);
            Ok(())
        })
        .await?;
        made.ok_or_else(|| Error::new(ErrorKind::Internal, "nothing was published"))
    }

    async fn delete_image(&self, image: &Fingerprint) -> Result<()> {
        self.travel(|| images::delete(&mut *self.call("delete_image")?, image))
            .await
    }

    async fn rename_image(&self, alias: &ImageName, new: &ImageName) -> Result<()> {
        self.travel(|| images::rename(&mut *self.call("rename_image")?, alias, new))
            .await
    }

    async fn export_image(
        &self,
        image: &Fingerprint,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        _progress: &Progress,
    ) -> Result<()> {
        let bytes = images::export(&*self.call("export_image")?, image)?;
        let written = to.write_all(&bytes).await;
        written.map_err(|error| Error::io("cannot write the image", error))
    }

    async fn import_image(
        &self,
        mut from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        alias: &ImageName,
        _progress: &Progress,
    ) -> Result<Fingerprint> {
        images::expect_free(&*self.call("import_image")?, alias)?;
        let mut bytes = Vec::new();
        let read = from.read_to_end(&mut bytes).await;
        read.map_err(|error| Error::io("cannot read the image", error))?;
        images::add(&mut self.lock(), images::read(&bytes)?, alias)
    }

    async fn read_file(&self, name: &InstanceName, path: &str) -> Result<GuestFile> {
        let mut state = self.call("read_file")?;
        files::read(&state.held(name)?.files, name, path)
    }

    async fn write_file(&self, name: &InstanceName, path: &str, file: GuestFile) -> Result<()> {
        let node = files::node(file).await?;
        self.travel(|| {
            let mut state = self.call("write_file")?;
            files::write(&mut state.held(name)?.files, name, path, node)
        })
        .await
    }

    async fn delete_file(&self, name: &InstanceName, path: &str) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("delete_file")?;
            files::delete(&mut state.held(name)?.files, name, path)
        })
        .await
    }

    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        let (before, listing) = {
            let mut state = self.call("exec")?;
            let held = state.held(name)?;
            if held.status != EnvStatus::Running {
                let message = format!("instance `{name}` doesn't run");
                return Err(Error::new(ErrorKind::Engine, message));
            }
            (held.files.clone(), route::listing(&held.services))
        };
        let mut files = before.clone();
        let code = guest::run(&mut files, &listing, &spec.argv, io).await;
        if let Some(held) = self.lock().instances.get_mut(name) {
            // Commands run at the same time: each adds only what it wrote itself.
            let written = files
                .into_iter()
                .filter(|(path, node)| before.get(path) != Some(node));
            held.files.extend(written);
        }
        Ok(code)
    }

    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>> {
        let mut state = self.call("route")?;
        let held = state.held(name)?;
        held.expect(name, EnvStatus::Running)?;
        let boot = held.boots;
        drop(state);
        Ok(Arc::new(FakeRoute::new(self.state.clone(), name, boot)))
    }

    async fn settle(&self, _name: &InstanceName) -> Result<()> {
        self.call("settle").map(drop)
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        self.answering().await;
        let _state = self.call("events")?;
        let receiver = self.events.subscribe();
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.ok().map(|event| (event, receiver))
        });
        Ok(stream.boxed())
    }

    async fn returned(&self) {
        // The sender is our own.
        let _ = self
            .reachable
            .subscribe()
            .wait_for(|reachable| *reachable)
            .await;
        tokio::task::yield_now().await;
    }
}
