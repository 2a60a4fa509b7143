//! Forwards: a host port's listeners, who gets its connections, and the bytes between them.
//!
//! [`serve`] takes bound listeners, a table of who may be reached by them, and a token that ends it; who
//! hosts it (`proxy`, `serve`, the app) decides the rest. Several envs may share a port: a connection that
//! names a host goes to that env, any other to the one that has the focus ([`Table`]).
//!
//! Invariants: loopback only, both families or neither, unless a [`Reach`](crate::model::Reach) says more; routing is per connection,
//! by its first request; a connection that is on its way is ended by its sides alone, or cut on purpose;
//! nothing is read of it, and between sockets nothing copied.
//! Deliberately absent: UDP; envs, focus and files, which are `forward`'s.

mod connection;
mod counted;
mod hold;
mod listen;
#[cfg(any(not(target_os = "linux"), test))]
mod lsof;
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

pub use hold::passes;
pub use listen::{Listeners, Ready, Refused, bind, bind_with};
pub use name::{Asked, RouteName};
pub use owner::Listening;
pub use serve::{Routes, Shared, serve};
pub use sniff::{MAX_HEAD, Protocol, Sniffed, sniff};
pub use table::Table;
pub use traffic::{Traffic, TrafficView};
pub use upstream::{Service, Upstream};
