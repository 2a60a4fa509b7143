//! Domain types: names, ports and states, parsed once at the boundary.
//!
//! Invariant: values of these types are valid and never checked again.
//! Deliberately absent: formats of engines (`backend::lxc::wire`) and presentation (`view`).

mod engine;
mod limits;
mod name;
mod pattern;
mod port;
mod status;

pub use engine::{BackendChoice, EngineId};
pub use limits::{ByteSize, Limits};
pub(crate) use name::RESERVED_WORDS;
pub use name::{
    EngineProject, EnvName, Fingerprint, ImageName, InstanceName, OperationId, ProjectName,
    RemoteName, SnapshotName, UserName, VariableName,
};
pub use pattern::EnvPattern;
pub use port::{GuestPort, HostPort, ListenScope, parse_port_list};
pub use status::{EngineKind, EnvStatus, PortState};
