//! A strict engine in memory, for speed and for faults.
//!
//! Stricter than the real ones: it refuses what they merely tolerate, its guests know only the few
//! commands of [`guest`], and a fault can be put before any call. It is no evidence of how a real
//! engine behaves; the contract suite runs against it and the real ones alike.

mod guest;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::{
    Backend, BackendEvent, Capabilities, ExecIo, ExecSpec, GuestStream, Image, Instance,
    InstanceSnapshot, LaunchSpec, Marks, Progress,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    EngineKind, EnvStatus, GuestPort, ImageName, InstanceName, Limits, SnapshotName,
};
use guest::Files;

/// The one image that the fake has.
pub const IMAGE: &str = "debian/12";

/// How the fake's pool behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Copies are cheap and a restore leaves later snapshots alone.
    Btrfs,
    /// Copies are cheap; a restore deletes later snapshots.
    Zfs,
    /// Every copy copies everything.
    Dir,
}

struct Kept {
    name: SnapshotName,
    created_at: Timestamp,
    files: Files,
}

struct Held {
    status: EnvStatus,
    marks: Marks,
    limits: Limits,
    files: Files,
    snapshots: Vec<Kept>,
}

#[derive(Default)]
struct State {
    instances: BTreeMap<InstanceName, Held>,
    faults: HashSet<&'static str>,
    unreachable: bool,
    absent: bool,
}

/// The engine in memory.
pub struct Fake {
    address: String,
    pool: Pool,
    state: Mutex<State>,
    events: broadcast::Sender<BackendEvent>,
}

impl Fake {
    /// An empty engine.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self {
            address: format!("memory {}", NEXT.fetch_add(1, Ordering::Relaxed)),
            pool,
            state: Mutex::default(),
            events: broadcast::channel(256).0,
        }
    }

    /// The next call of this name (`"start"`, `"snapshot"`…) fails.
    pub fn fail_next(&self, call: &'static str) {
        self.lock().faults.insert(call);
    }

    /// From now on nobody can reach it, or everybody can again.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.lock().unreachable = unreachable;
    }

    /// Whether there is an engine at all.
    pub fn set_installed(&self, installed: bool) {
        self.lock().absent = !installed;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change with the way to the engine before it and the way back after it: places at which a
    /// caller can be cut off, as a process is by SIGKILL.
    async fn travel(&self, change: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        tokio::task::yield_now().await;
        let changed = change();
        tokio::task::yield_now().await;
        changed
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.unreachable {
            return Err(Error::new(
                ErrorKind::Unreachable,
                "the fake engine is not reachable",
            ));
        }
        if state.faults.remove(name) {
            return Err(Error::new(
                ErrorKind::Engine,
                format!("a fault before `{name}`"),
            ));
        }
        Ok(state)
    }

    fn tell(&self, event: BackendEvent) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    fn changed(&self, name: &InstanceName) {
        self.tell(BackendEvent::Changed(name.clone()));
    }
}

fn held<'a>(state: &'a mut State, name: &InstanceName) -> Result<&'a mut Held> {
    state.instances.get_mut(name).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("the fake engine has no instance `{name}`"),
        )
    })
}

fn expect(held: &Held, name: &InstanceName, status: EnvStatus) -> Result<()> {
    if held.status == status {
        return Ok(());
    }
    let now = held.status.label().to_lowercase();
    Err(Error::new(
        ErrorKind::Conflict,
        format!("instance `{name}` is {now}"),
    ))
}

fn view(name: &InstanceName, held: &Held) -> Instance {
    let running = held.status == EnvStatus::Running;
    let snapshots = held.snapshots.iter().map(|kept| InstanceSnapshot {
        name: kept.name.clone(),
        created_at: kept.created_at,
    });
    Instance {
        name: name.clone(),
        status: held.status,
        started_at: None,
        address: running.then_some(std::net::Ipv4Addr::LOCALHOST.into()),
        marks: held.marks.clone(),
        snapshots: snapshots.collect(),
        limits: held.limits,
    }
}

#[async_trait]
impl Backend for Fake {
    fn kind(&self) -> EngineKind {
        EngineKind::Fake
    }

    fn address(&self) -> String {
        self.address.clone()
    }

    fn is_installed(&self) -> bool {
        !self.lock().absent
    }

    async fn capabilities(&self) -> Result<Capabilities> {
        let _state = self.call("capabilities")?;
        Ok(Capabilities {
            server: "fake 1".to_owned(),
            copy_on_write: self.pool != Pool::Dir,
            restore_keeps_later_snapshots: self.pool != Pool::Zfs,
            snapshot_expiry: true,
            limits: true,
        })
    }

    async fn instances(&self) -> Result<Vec<Instance>> {
        let state = self.call("instances")?;
        Ok(state
            .instances
            .iter()
            .map(|(name, held)| view(name, held))
            .collect())
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        let mut state = self.call("instance")?;
        held(&mut state, name).map(|held| view(name, held))
    }

    async fn find_image(&self, name: &ImageName) -> Result<Image> {
        let _state = self.call("find_image")?;
        if name.as_str() == IMAGE {
            return Ok(Image::Local {
                fingerprint: "0123456789ab".to_owned(),
            });
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!("the fake engine knows no image `{name}`"),
        )
        .with_hint(format!("there are: {IMAGE}")))
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
            if state.instances.contains_key(&spec.name) {
                let message = format!("instance `{}` is there already", spec.name);
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
            progress.step("unpacking", Some(100));
            let new = Held {
                status: EnvStatus::Stopped,
                marks: spec.marks.clone(),
                limits: spec.limits,
                files: Files::default(),
                snapshots: Vec::new(),
            };
            state.instances.insert(spec.name.clone(), new);
            drop(state);
            self.changed(&spec.name);
            Ok(())
        })
        .await
    }

    async fn start(&self, name: &InstanceName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("start")?;
            let held = held(&mut state, name)?;
            expect(held, name, EnvStatus::Stopped)?;
            held.status = EnvStatus::Running;
            drop(state);
            self.tell(BackendEvent::Started(name.clone()));
            Ok(())
        })
        .await
    }

    async fn stop(&self, name: &InstanceName, _force: bool) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("stop")?;
            let held = held(&mut state, name)?;
            expect(held, name, EnvStatus::Running)?;
            held.status = EnvStatus::Stopped;
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn delete(&self, name: &InstanceName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("delete")?;
            expect(held(&mut state, name)?, name, EnvStatus::Stopped)?;
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
            expect(held(&mut state, name)?, name, EnvStatus::Stopped)?;
            if state.instances.contains_key(new) {
                let message = format!("instance `{new}` is there already");
                return Err(Error::new(ErrorKind::AlreadyExists, message));
            }
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
            held(&mut state, name)?.marks = marks.clone();
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
    ) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("snapshot")?;
            let held = held(&mut state, name)?;
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

    async fn restore(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<()> {
        self.travel(|| {
            let mut state = self.call("restore")?;
            let held = held(&mut state, name)?;
            expect(held, name, EnvStatus::Stopped)?;
            let position = position(held, name, snapshot)?;
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
            let held = held(&mut state, name)?;
            let position = position(held, name, snapshot)?;
            held.snapshots.remove(position);
            drop(state);
            self.changed(name);
            Ok(())
        })
        .await
    }

    async fn exec(&self, name: &InstanceName, spec: &ExecSpec, io: ExecIo) -> Result<i32> {
        let before = {
            let mut state = self.call("exec")?;
            let held = held(&mut state, name)?;
            if held.status != EnvStatus::Running {
                let message = format!("instance `{name}` doesn't run");
                return Err(Error::new(ErrorKind::Engine, message));
            }
            held.files.clone()
        };
        let mut files = before.clone();
        let code = guest::run(&mut files, &spec.argv, io).await;
        if let Some(held) = self.lock().instances.get_mut(name) {
            // Commands run at the same time: each adds only what it wrote itself.
            let written = files
                .into_iter()
                .filter(|(path, bytes)| before.get(path) != Some(bytes));
            held.files.extend(written);
        }
        Ok(code)
    }

    async fn dial(&self, name: &InstanceName, port: GuestPort) -> Result<Box<dyn GuestStream>> {
        let mut state = self.call("dial")?;
        expect(held(&mut state, name)?, name, EnvStatus::Running)?;
        let message = format!("nothing answers on port {port} of `{name}`");
        Err(Error::new(ErrorKind::Guest, message))
    }

    async fn settle(&self, _name: &InstanceName) -> Result<()> {
        self.call("settle").map(drop)
    }

    async fn events(&self) -> Result<BoxStream<'static, BackendEvent>> {
        let _state = self.call("events")?;
        let receiver = self.events.subscribe();
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.ok().map(|event| (event, receiver))
        });
        Ok(stream.boxed())
    }

    async fn returned(&self) {
        std::future::pending().await
    }
}

fn position(held: &Held, name: &InstanceName, snapshot: &SnapshotName) -> Result<usize> {
    let found = held
        .snapshots
        .iter()
        .position(|kept| kept.name == *snapshot);
    found.ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            format!("`{name}` has no snapshot `{snapshot}`"),
        )
    })
}
