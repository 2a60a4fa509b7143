//! The fake as a [`Backend`].

use crate::backend::Instances;
use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use super::state::FakeInstance;
use super::{Fake, Pool};
use crate::backend::{
    Backend, BackendEvent, Capabilities, CloneSpec, Image, Instance, LaunchSpec, Marks, Progress,
    Settings, Space, Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EnvStatus, InstanceName};

#[async_trait]
impl Instances for Fake {
    async fn instances(&self) -> Result<Vec<Instance>> {
        self.wait_until_responding().await;
        let state = self.call("instances")?;
        let instances = state.instances.iter();
        Ok(instances
            .map(|(name, instance)| instance.view(name))
            .collect())
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        let mut state = self.call("instance")?;
        state.instance_mut(name).map(|instance| instance.view(name))
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage> {
        let mut state = self.call("usage")?;
        let instance = state.instance_mut(name)?;
        instance.expect(name, EnvStatus::Running)?;
        Ok(Usage {
            processes: Some(1),
            addresses: vec![std::net::Ipv4Addr::LOCALHOST.into()],
            ..Usage::default()
        })
    }

    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.change(|| {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let mut state = self.call("create")?;
            state.ensure_free(&spec.name)?;
            let Image::Local { fingerprint } = &spec.image else {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the fake engine cannot download images",
                ));
            };
            let image = state.images.get(fingerprint).cloned().unwrap_or_default();
            progress.step("unpacking", Some(100));
            let new = FakeInstance {
                status: EnvStatus::Stopped,
                marks: spec.marks.clone(),
                settings: spec.settings.clone(),
                base_image: Some(fingerprint.clone()),
                files: image.files,
                snapshots: Vec::new(),
                location: None,
                boots: 0,
                started_at: None,
                services: BTreeMap::new(),
            };
            state.instances.insert(spec.name.clone(), new);
            drop(state);
            self.changed(&spec.name);
            Ok(())
        })
        .await
    }

    async fn clone_instance(
        &self,
        spec: &CloneSpec,
        _progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        self.change(|| {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let mut state = self.call("clone_instance")?;
            state.ensure_free(&spec.name)?;
            let source = state.instance_mut(&spec.source)?;
            let files = match &spec.snapshot {
                Some(snapshot) => source.snapshots[source.position(&spec.source, snapshot)?]
                    .files
                    .clone(),
                None => source.files.clone(),
            };
            let new = FakeInstance {
                status: EnvStatus::Stopped,
                marks: spec.marks.clone(),
                settings: source.settings.clone(),
                base_image: source.base_image.clone(),
                files,
                snapshots: Vec::new(),
                location: None,
                boots: 0,
                started_at: None,
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
        self.change(|| {
            let mut state = self.call("configure")?;
            state.instance_mut(name)?.settings = settings.clone();
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn start(&self, name: &InstanceName) -> Result<()> {
        self.change(|| {
            let mut state = self.call("start")?;
            let now = state.tick();
            let instance = state.instance_mut(name)?;
            instance.expect(name, EnvStatus::Stopped)?;
            instance.status = EnvStatus::Running;
            instance.boots += 1;
            instance.started_at = Some(now);
            drop(state);
            self.emit(BackendEvent::Started(name.clone()));
            Ok(())
        })
        .await
    }

    async fn stop(&self, name: &InstanceName, _force: bool) -> Result<()> {
        self.change(|| {
            let mut state = self.call("stop")?;
            let instance = state.instance_mut(name)?;
            instance.expect(name, EnvStatus::Running)?;
            instance.status = EnvStatus::Stopped;
            instance.services.clear();
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn delete(&self, name: &InstanceName) -> Result<()> {
        self.change(|| {
            let mut state = self.call("delete")?;
            state.instance_mut(name)?.expect(name, EnvStatus::Stopped)?;
            state.instances.remove(name);
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        self.change(|| {
            let mut state = self.call("rename")?;
            state.instance_mut(name)?.expect(name, EnvStatus::Stopped)?;
            state.ensure_free(new)?;
            if let Some(instance) = state.instances.remove(name) {
                state.instances.insert(new.clone(), instance);
            }
            drop(state);
            self.emit(BackendEvent::Renamed {
                old: name.clone(),
                new: new.clone(),
            });
            Ok(())
        })
        .await
    }

    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()> {
        self.change(|| {
            let mut state = self.call("set_marks")?;
            state.instance_mut(name)?.marks = marks.clone();
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn settle(&self, _name: &InstanceName) -> Result<()> {
        self.call("settle").map(drop)
    }
}

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
            bind_mounts: true,
        })
    }

    async fn pool_space(&self) -> Result<Option<Space>> {
        let state = self.call("pool_space")?;
        Ok(Some(Space {
            used: state
                .instances
                .values()
                .map(FakeInstance::total_bytes)
                .sum(),
            total: state.pool_size,
        }))
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        self.wait_until_responding().await;
        let _state = self.call("events")?;
        let receiver = self.events.subscribe();
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.ok().map(|event| (event, receiver))
        });
        Ok(stream.boxed())
    }

    async fn returned(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self
            .reachable
            .subscribe()
            .wait_for(|reachable| *reachable)
            .await;
        tokio::task::yield_now().await;
    }
}
