//! Routes to the fake's guests, whose services are sockets of the host.

use crate::backend::Ports;
use crate::backend::fake::Fake;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::net::TcpStream;

use super::state::State;
use crate::backend::{GuestStream, Route};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvStatus, GuestPort, InstanceName};

/// Services in the format of `/proc/net/tcp`, without owning processes.
pub(super) fn listener_table(services: &BTreeMap<GuestPort, SocketAddr>) -> String {
    let rows = services.keys().map(|port| {
        let port = port.get();
        format!(" 0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 0 0 0 0\n")
    });
    std::iter::once("tcp\n".to_owned()).chain(rows).collect()
}

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
            state.check_faults("dial")?;
            let instance = state.instance_mut(name)?;
            instance.expect(name, EnvStatus::Running)?;
            if instance.boots != self.boot {
                let message = format!("`{name}` was restarted");
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            instance.services.get(&port).copied()
        };
        let refused = || {
            let message = format!("port {port} of `{name}` is closed");
            Error::new(ErrorKind::Guest, message)
        };
        let stream = TcpStream::connect(service.ok_or_else(refused)?).await;
        let stream = stream.map_err(|error| refused().caused_by(error))?;
        let set = stream.set_nodelay(true);
        set.map_err(|error| refused().caused_by(error))?;
        Ok(GuestStream::Socket(stream))
    }
}

#[async_trait]
impl Ports for Fake {
    async fn route(&self, name: &InstanceName) -> Result<Arc<dyn Route>> {
        let mut state = self.call("route")?;
        let instance = state.instance_mut(name)?;
        instance.expect(name, EnvStatus::Running)?;
        let boot = instance.boots;
        drop(state);
        Ok(Arc::new(FakeRoute::new(self.state.clone(), name, boot)))
    }
}
