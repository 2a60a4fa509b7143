//! The control socket: requests of the window and the command line to the forwarder (the app or a command).
//!
//! One JSON object per line: a [`Hello`] of each side, the client's first, then [`Call`]s and [`Message`]s.
//! The socket is in a 0700 directory and the peer's user is checked; a line of more than
//! [`MAX_LINE_BYTES`] ends the connection. The owner of the home's lock owns the socket, and writes its path
//! into the lock file; a socket without a lock is stale.
//! Deliberately absent: the actions themselves, which [`Host`] implements.

mod client;
mod lock_info;
mod protocol;
mod server;
mod socket;

pub use client::Client;
pub use protocol::{Call, Hello, MAX_LINE_BYTES, Message, Push, Request, Response, Role};
pub use server::{Host, Windows, serve};
pub use socket::ControlSocket;
