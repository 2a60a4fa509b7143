//! Hands listeners over to the next process, so that no connection is refused in between.
//!
//! The old process binds a socket, writes its path to the lock file and releases the lock, but keeps accepting. The
//! new owner of the lock receives the listeners as descriptors, including pending connections. If that fails, the
//! ports are bound again, as after a crash.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};

use crate::control::ControlSocket;
use crate::home::Home;

/// Below the system limit of 253.
const MAX_DESCRIPTORS_PER_MESSAGE: usize = 128;
/// Time for the next process to connect. Sessions with a lease try at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the old process to send its listeners.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// Listeners and limits that a process starts with.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// From the previous process.
    listeners: BTreeMap<SocketAddr, TcpListener>,
    /// Descriptor limit before it was raised; `None` without a limit.
    pub(super) descriptors: Option<u64>,
}

impl Inherited {
    /// Raises the descriptor limit and receives the listeners of the previous process, if it hands them over.
    pub(super) async fn receive(socket: &mut ControlSocket) -> Self {
        // Raise the limit first: the kernel drops descriptors above it.
        let descriptors = super::raise_descriptors();
        let received = match socket.take_handover() {
            Some(path) => tokio::time::timeout(RECEIVE_TIMEOUT, receive_all(&path)).await,
            None => Ok(Ok(BTreeMap::new())),
        };
        let listeners = match received {
            Ok(Ok(listeners)) => listeners,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot receive listeners");
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        };
        Self {
            listeners,
            descriptors,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// Keeps the listeners of some ports.
    pub(super) fn retain(&mut self, kept: impl Fn(u16) -> bool) {
        self.listeners.retain(|address, _| kept(address.port()));
    }

    /// Duplicates the descriptors for another process.
    pub(super) fn duplicate(&self) -> io::Result<Vec<OwnedFd>> {
        let copies = self.listeners.values().map(TcpListener::try_clone);
        copies.map(|copy| copy.map(OwnedFd::from)).collect()
    }

    /// Removes the listener of an address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.listeners.remove(&address)
    }
}

async fn receive_all(path: &Path) -> io::Result<BTreeMap<SocketAddr, TcpListener>> {
    let stream = UnixStream::connect(path).await?;
    let mut listeners = BTreeMap::new();
    loop {
        let received = stream
            .async_io(Interest::READABLE, || receive(&stream))
            .await?;
        if received.is_empty() {
            return Ok(listeners);
        }
        for descriptor in received {
            let listener = TcpListener::from(descriptor);
            listeners.insert(listener.local_addr()?, listener);
        }
    }
}

/// Receives the descriptors of one message. Empty at the end.
fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space =
        vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS_PER_MESSAGE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::empty();
    #[cfg(target_os = "linux")]
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(stream, &mut into, &mut ancillary, flags)?;
    if message.flags.contains(ReturnFlags::CTRUNC) {
        tracing::warn!(
            "not all listeners were received: their ports are bound after the old process ends"
        );
    }
    let mut received = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            received.extend(descriptors);
        }
    }
    #[cfg(not(target_os = "linux"))]
    for descriptor in &received {
        rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(received)
}

/// Socket on which listeners are offered.
struct HandoverSocket {
    socket: UnixListener,
    path: PathBuf,
}

impl HandoverSocket {
    fn new(home: &Home) -> io::Result<Self> {
        let path = home.handover_socket();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { socket, path })
    }

    /// Sends the listeners to the first client of the same user.
    async fn send_listeners(&self, listeners: &[OwnedFd]) -> io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        let stream = loop {
            let (stream, _) = self.socket.accept().await?;
            if stream.peer_cred()?.uid() == own {
                break stream;
            }
        };
        for chunk in listeners.chunks(MAX_DESCRIPTORS_PER_MESSAGE) {
            stream
                .async_io(Interest::WRITABLE, || send(&stream, chunk))
                .await?;
        }
        Ok(())
    }
}

impl Drop for HandoverSocket {
    fn drop(&mut self) {
        // The next handover removes a stale socket.
        let _ = fs::remove_file(&self.path);
    }
}

fn send(stream: &UnixStream, listeners: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    let mut space =
        vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS_PER_MESSAGE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    // Ancillary data needs at least one byte.
    sendmsg(
        stream,
        &[IoSlice::new(&[0])],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// State to hand over to the next process.
pub(super) struct HandoverServer {
    pub(super) listeners: Vec<OwnedFd>,
    /// Number of leases, including those of this process.
    pub(super) leases: usize,
}

/// Result of a handover of the control socket.
pub enum Handover {
    /// Another process has the control socket and the listeners.
    Done,
    /// No process took over. The control socket is returned unless it was released.
    NotTaken(Option<ControlSocket>),
}

impl HandoverServer {
    /// Releases the control socket and sends the listeners to its next owner. Forwarding must continue until this
    /// returns.
    pub(super) async fn hand_over(self, home: &Home, control_socket: ControlSocket) -> Handover {
        let offer = match HandoverSocket::new(home) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::warn!(%error, "cannot hand over listeners");
                return Handover::NotTaken(Some(control_socket));
            }
        };
        if let Err(error) = control_socket.hand_over(&offer.path) {
            tracing::warn!(?error, "cannot hand over listeners");
            return Handover::NotTaken(None);
        }
        match tokio::time::timeout(CONNECT_TIMEOUT, offer.send_listeners(&self.listeners)).await {
            Ok(Ok(())) => Handover::Done,
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot hand over listeners");
                Handover::NotTaken(None)
            }
            // The next process disappeared.
            Err(_) => Handover::NotTaken(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn next_lock_owner_receives_the_listeners() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let first = ControlSocket::claim(&home).unwrap().unwrap();
        // Needs two messages.
        let listeners: Vec<TcpListener> = (0..=MAX_DESCRIPTORS_PER_MESSAGE)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let address = listeners[MAX_DESCRIPTORS_PER_MESSAGE].local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let descriptors: Vec<OwnedFd> = listeners.into_iter().map(OwnedFd::from).collect();
        let old_home = home.clone();
        let server = HandoverServer {
            listeners: descriptors,
            leases: 1,
        };
        let old_process = tokio::spawn(async move { server.hand_over(&old_home, first).await });
        let mut second = loop {
            match ControlSocket::claim(&home).unwrap() {
                Some(control_socket) => break control_socket,
                None => tokio::task::yield_now().await,
            }
        };
        let mut inherited = Inherited::receive(&mut second).await;
        assert!(matches!(old_process.await.unwrap(), Handover::Done));
        assert_eq!(inherited.listeners.len(), MAX_DESCRIPTORS_PER_MESSAGE + 1);
        // A pending connection survives.
        let taken = inherited.take(address).unwrap();
        let (accepted, _) = taken.accept().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), waiting.local_addr().unwrap());
        drop(second);
        // The next owner inherits nothing.
        let mut third = ControlSocket::claim(&home).unwrap().unwrap();
        assert!(Inherited::receive(&mut third).await.is_empty());
    }
}
