//! Errors and hints that several modules share.

use crate::error::{Error, ErrorKind};
use crate::model::InstanceName;

pub(super) const VOLUME_FULL_HINT: &str = "the volume of LIMA_HOME is full: delete undo copies with \
    `lxc-dev-manager gc --all`, or delete snapshots or machines";

pub(super) fn not_found(name: &InstanceName) -> Error {
    Error::new(ErrorKind::NotFound, format!("Lima has no machine `{name}`"))
}
