//! State of the fake.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use jiff::{SignedDuration, Timestamp};

use super::IMAGE;
use super::guest::{Files, Node};
use crate::backend::{Instance, InstanceSnapshot, Marks, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, Fingerprint, GuestPort, InstanceName, SnapshotName};

/// What goes wrong at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and nothing was changed.
    Before,
    /// It fails, but the change was made.
    After,
    /// There is no answer, and nothing was changed.
    NoAnswer,
    /// There is no answer, but the change was made.
    LostAnswer,
}

#[derive(Clone)]
pub(super) struct FakeSnapshot {
    pub(super) name: SnapshotName,
    pub(super) created_at: Timestamp,
    pub(super) settings: Settings,
    pub(super) files: Files,
}

pub(super) struct FakeInstance {
    pub(super) status: EnvStatus,
    pub(super) marks: Marks,
    pub(super) settings: Settings,
    pub(super) base_image: Option<Fingerprint>,
    pub(super) files: Files,
    pub(super) snapshots: Vec<FakeSnapshot>,
    pub(super) location: Option<String>,
    pub(super) boots: u64,
    pub(super) started_at: Option<Timestamp>,
    /// Services by port; each is a socket of the host.
    pub(super) services: BTreeMap<GuestPort, SocketAddr>,
}

#[derive(Clone, Default)]
pub(super) struct FakeImage {
    pub(super) aliases: Vec<String>,
    pub(super) files: Files,
}

pub(super) struct State {
    pub(super) instances: BTreeMap<InstanceName, FakeInstance>,
    pub(super) images: BTreeMap<Fingerprint, FakeImage>,
    pub(super) faults: HashMap<&'static str, Fault>,
    /// Of the call that is being made, for its end.
    late_fault: Option<Error>,
    /// The engine's own clock, which ticks at each start.
    pub(super) clock: Timestamp,
    pub(super) unreachable: bool,
    pub(super) absent: bool,
    pub(super) forbids_snapshots: bool,
    /// Bytes.
    pub(super) pool_size: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let stored = FakeImage {
            aliases: vec![IMAGE.to_owned()],
            files: Files::default(),
        };
        let first = Fingerprint::parse("0123456789ab").map(|image| (image, stored));
        Self {
            instances: BTreeMap::new(),
            images: first.into_iter().collect(),
            faults: HashMap::new(),
            late_fault: None,
            clock: Timestamp::UNIX_EPOCH,
            unreachable: false,
            absent: false,
            forbids_snapshots: false,
            pool_size: 1 << 40,
        }
    }

    /// Fails if the engine is unreachable or this call has a fault.
    pub(super) fn check_faults(&mut self, call: &'static str) -> Result<()> {
        if self.unreachable {
            let message = "the fake engine is not reachable";
            return Err(Error::new(ErrorKind::Unreachable, message));
        }
        let (kind, when) = match self.faults.remove(call) {
            None => return Ok(()),
            Some(Fault::Before) => (ErrorKind::Engine, "before"),
            Some(Fault::After) => (ErrorKind::Engine, "after"),
            Some(Fault::NoAnswer) => (ErrorKind::Timeout, "instead of"),
            Some(Fault::LostAnswer) => (ErrorKind::Timeout, "after"),
        };
        let error = Error::new(kind, format!("injected fault {when} `{call}`"));
        if when == "after" {
            self.late_fault = Some(error);
            return Ok(());
        }
        Err(error)
    }

    /// Takes the fault for the end of a call.
    pub(super) fn take_late_fault(&mut self) -> Result<()> {
        self.late_fault.take().map_or(Ok(()), Err)
    }

    pub(super) fn tick(&mut self) -> Timestamp {
        self.clock += SignedDuration::from_secs(1);
        self.clock
    }

    pub(super) fn instance_mut(&mut self, name: &InstanceName) -> Result<&mut FakeInstance> {
        self.instances.get_mut(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the fake engine has no instance `{name}`"),
            )
        })
    }

    pub(super) fn ensure_free(&self, name: &InstanceName) -> Result<()> {
        if self.instances.contains_key(name) {
            let message = format!("instance `{name}` already exists");
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        Ok(())
    }
}

pub(super) fn size(files: &Files) -> u64 {
    let sizes = files.values().map(|node| match node {
        Node::File(bytes) => bytes.len() as u64,
        Node::Directory | Node::Link(_) => 0,
    });
    sizes.sum()
}

impl FakeInstance {
    /// Bytes of files that were changed or deleted since the snapshot.
    pub(super) fn snapshot_bytes(&self, snapshot: &FakeSnapshot) -> u64 {
        let files = snapshot.files.iter();
        let changed = files.filter(|(path, node)| self.files.get(*path) != Some(node));
        size(
            &changed
                .map(|(path, node)| (path.clone(), node.clone()))
                .collect(),
        )
    }

    /// Includes snapshots.
    pub(super) fn total_bytes(&self) -> u64 {
        let snapshots = self.snapshots.iter().map(|one| self.snapshot_bytes(one));
        size(&self.files) + snapshots.sum::<u64>()
    }

    pub(super) fn expect(&self, name: &InstanceName, status: EnvStatus) -> Result<()> {
        if self.status == status {
            return Ok(());
        }
        let status = self.status.label().to_lowercase();
        Err(Error::new(
            ErrorKind::Conflict,
            format!("instance `{name}` is {status}"),
        ))
    }

    pub(super) fn position(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<usize> {
        let found = self
            .snapshots
            .iter()
            .position(|known| known.name == *snapshot);
        found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("`{name}` has no snapshot `{snapshot}`"),
            )
        })
    }

    pub(super) fn view(&self, name: &InstanceName) -> Instance {
        let running = self.status == EnvStatus::Running;
        let snapshots = self.snapshots.iter().map(|snapshot| InstanceSnapshot {
            name: snapshot.name.clone(),
            created_at: snapshot.created_at,
            is_broken: false,
        });
        Instance {
            name: name.clone(),
            status: self.status,
            started_at: self.started_at,
            address: running.then_some(std::net::Ipv4Addr::LOCALHOST.into()),
            marks: self.marks.clone(),
            snapshots: snapshots.collect(),
            settings: self.settings.clone(),
            base_image: self.base_image.clone(),
            location: self.location.clone(),
            is_foreign: false,
        }
    }
}
