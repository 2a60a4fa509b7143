//! Forwards: a host port's listeners, and the bytes between them and an env.
//!
//! [`serve`] takes bound listeners, a token that ends it, and a way to dial; who hosts it (the
//! `proxy` command, later the app) decides the rest. Listeners are on loopback only, both families
//! or neither. No timeout: a connection ends when one of its sides ends it.
//! Deliberately absent for now: sharing a port by name, and healing while nobody listens inside.

mod listen;
mod relay;

pub use listen::{Listeners, bind};
pub use relay::{Dial, serve};
