//! The way into the fake's guests: each service is a socket of this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::net::TcpStream;

use super::state::State;
use crate::backend::{GuestStream, Route};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, GuestPort, InstanceName};

/// Its services as a kernel tells them; nobody is known to hold the sockets.
pub(super) fn listing(services: &BTreeMap<GuestPort, SocketAddr>) -> String {
    let rows = services.keys().map(|port| {
        let port = port.get();
        format!(" 0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 0 0 0 0\n")
    });
    std::iter::once("tcp\n".to_owned()).chain(rows).collect()
}

/// The way to one boot of an instance.
pub(super) struct FakeRoute {
    state: Arc<Mutex<State>>,
    name: InstanceName,
    boot: u64,
}

impl FakeRoute {
    pub(super) fn new(state: Arc<Mutex<State>>, name: &InstanceName, boot: u64) -> Self {
        let name = name.clone();
        Self { state, name, boot }
    }
}

#[async_trait]
impl Route for FakeRoute {
    async fn dial(&self, port: GuestPort) -> Result<GuestStream> {
        let name = &self.name;
        let service = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.admit("dial")?;
            let held = state.held(name)?;
            held.expect(name, EnvStatus::Running)?;
            if held.boots != self.boot {
                let message = format!("`{name}` was started anew");
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            held.services.get(&port).copied()
        };
        let refused = || {
            let message = format!("nothing answers on port {port} of `{name}`");
            Error::new(ErrorKind::Guest, message)
        };
        let stream = TcpStream::connect(service.ok_or_else(refused)?).await;
        let stream = stream.map_err(|error| refused().caused_by(error))?;
        let quick = stream.set_nodelay(true);
        quick.map_err(|error| refused().caused_by(error))?;
        Ok(GuestStream::Socket(stream))
    }
}
