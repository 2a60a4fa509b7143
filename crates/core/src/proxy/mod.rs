//! TCP proxy: listeners of host ports, routing, and relaying.
//!
//! [`serve`] takes bound listeners, a routing table and a token that ends it. Several envs may share a port: a
//! connection that names a host goes to that env, any other to the default target ([`Table`]).
//!
//! Invariants: loopback only, both families or none, unless a [`ListenScope`](crate::model::ListenScope) allows more;
//! routing is per connection, by its first request; a routed connection is ended only by its peers, or cut explicitly.
//! Deliberately absent: UDP; envs, focus and files (`forward`).

mod connection;
mod counted;
mod hold;
mod listen;
mod name;
mod owner;
mod page;
#[cfg_attr(not(target_os = "linux"), path = "pipes_none.rs")]
mod pipes;
mod refuse;
mod relay;
mod serve;
mod sniff;
#[cfg(target_os = "linux")]
mod splice;
mod table;
mod traffic;
mod upstream;

pub use hold::is_transient;
pub use listen::{ExistingListener, Listeners, Refused, bind, bind_with};
pub(crate) use name::is_foreign_host;
pub use name::{RouteName, Target};
pub use owner::Listening;
pub use serve::{Routes, Shared, serve};
pub use sniff::{MAX_HEAD_BYTES, Protocol, Sniffed, sniff};
pub use table::Table;
pub use traffic::{Traffic, TrafficView};
pub use upstream::{Service, Upstream};
