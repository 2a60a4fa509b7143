//! The control socket: how the window and the command line talk to who forwards: the app, or a command.
//!
//! One JSON object a line. The client begins with [`Hello`], the holder answers with its own; then
//! [`Call`]s and [`Reply`]s. The socket is in a 0700 directory and the peer's user is checked; a line
//! of more than 64 KiB to the app ends the connection. Whoever has the lock of the home holds it, and says in its
//! file where the socket is; a socket file without a lock is stale.
//! Deliberately absent: what is done when asked ([`Host`] is the app's).

mod client;
mod holder;
mod lock_info;
mod protocol;
mod server;

pub use client::{Answer, Client, Pushed};
pub use holder::Holder;
pub use protocol::{Call, Hello, MAX_LINE, Reply, Request, Role};
pub use server::{Host, Windows, serve};
