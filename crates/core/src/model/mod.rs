//! Words of the domain: names, ports and states, parsed once at the edge.
//!
//! Invariant: a value of one of these types is valid; nothing behind the edge checks it again.
//! Deliberately absent: anything that an engine says in its own words (`backend::lxc::wire`) and
//! anything that is drawn (`view`).

mod engine;
mod limits;
mod name;
mod pattern;
mod port;
mod status;

pub use engine::{BackendChoice, EngineId};
pub use limits::{ByteSize, Limits};
pub use name::{
    EngineProject, EnvName, Fingerprint, ImageName, InstanceName, OperationId, ProjectName,
    RemoteName, SnapshotName, UserName, VariableName,
};
pub use pattern::EnvPattern;
pub use port::{GuestPort, HostPort, Reach, parse_port_list};
pub use status::{EngineKind, EnvStatus, PortState};
