//! What the fake holds.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use jiff::Timestamp;

use super::IMAGE;
use super::guest::{Files, Node};
use crate::backend::{Instance, InstanceSnapshot, Marks, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, Fingerprint, GuestPort, InstanceName, SnapshotName};

/// A snapshot.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) name: SnapshotName,
    pub(super) created_at: Timestamp,
    pub(super) files: Files,
}

/// An instance.
pub(super) struct Held {
    pub(super) status: EnvStatus,
    pub(super) marks: Marks,
    pub(super) settings: Settings,
    pub(super) base_image: Option<Fingerprint>,
    pub(super) files: Files,
    pub(super) snapshots: Vec<Kept>,
    pub(super) location: Option<String>,
    /// How often it was started.
    pub(super) boots: u64,
    /// What listens in it, and the socket of this machine that stands for it.
    pub(super) services: BTreeMap<GuestPort, SocketAddr>,
}

/// An image.
#[derive(Clone, Default)]
pub(super) struct Stored {
    pub(super) aliases: Vec<String>,
    pub(super) files: Files,
}

pub(super) struct State {
    pub(super) instances: BTreeMap<InstanceName, Held>,
    pub(super) images: BTreeMap<Fingerprint, Stored>,
    pub(super) faults: HashSet<&'static str>,
    pub(super) unreachable: bool,
    pub(super) absent: bool,
    pub(super) forbids_snapshots: bool,
    /// Bytes of the pool.
    pub(super) pool_size: u64,
}

impl State {
    pub(super) fn new() -> Self {
        let stored = Stored {
            aliases: vec![IMAGE.to_owned()],
            files: Files::default(),
        };
        let first = Fingerprint::parse("0123456789ab").map(|image| (image, stored));
        Self {
            instances: BTreeMap::new(),
            images: first.into_iter().collect(),
            faults: HashSet::new(),
            unreachable: false,
            absent: false,
            forbids_snapshots: false,
            pool_size: 1 << 40,
        }
    }

    /// Lets a call in, unless a fault was put before it.
    pub(super) fn admit(&mut self, call: &'static str) -> Result<()> {
        if self.unreachable {
            let message = "the fake engine is not reachable";
            return Err(Error::new(ErrorKind::Unreachable, message));
        }
        if self.faults.remove(call) {
            let message = format!("a fault before `{call}`");
            return Err(Error::new(ErrorKind::Engine, message));
        }
        Ok(())
    }

    pub(super) fn held(&mut self, name: &InstanceName) -> Result<&mut Held> {
        self.instances.get_mut(name).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("the fake engine has no instance `{name}`"),
            )
        })
    }

    pub(super) fn expect_free(&self, name: &InstanceName) -> Result<()> {
        if self.instances.contains_key(name) {
            let message = format!("instance `{name}` is there already");
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        Ok(())
    }
}

/// Bytes in files.
pub(super) fn size(files: &Files) -> u64 {
    let sizes = files.values().map(|node| match node {
        Node::File(bytes) => bytes.len() as u64,
        Node::Directory | Node::Link(_) => 0,
    });
    sizes.sum()
}

impl Held {
    /// Bytes that a snapshot alone holds: of files that are others, or none, by now.
    pub(super) fn held_by(&self, kept: &Kept) -> u64 {
        let gone = kept.files.iter();
        let gone = gone.filter(|(path, node)| self.files.get(*path) != Some(node));
        size(
            &gone
                .map(|(path, node)| (path.clone(), node.clone()))
                .collect(),
        )
    }

    /// Bytes that it holds with its snapshots.
    pub(super) fn held(&self) -> u64 {
        let kept = self.snapshots.iter().map(|kept| self.held_by(kept));
        size(&self.files) + kept.sum::<u64>()
    }

    pub(super) fn expect(&self, name: &InstanceName, status: EnvStatus) -> Result<()> {
        if self.status == status {
            return Ok(());
        }
        let now = self.status.label().to_lowercase();
        Err(Error::new(
            ErrorKind::Conflict,
            format!("instance `{name}` is {now}"),
        ))
    }

    /// Where a snapshot stands among the others.
    pub(super) fn position(&self, name: &InstanceName, snapshot: &SnapshotName) -> Result<usize> {
        let found = self
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

    pub(super) fn view(&self, name: &InstanceName) -> Instance {
        let running = self.status == EnvStatus::Running;
        let snapshots = self.snapshots.iter().map(|kept| InstanceSnapshot {
            name: kept.name.clone(),
            created_at: kept.created_at,
            is_broken: false,
        });
        Instance {
            name: name.clone(),
            status: self.status,
            started_at: None,
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
