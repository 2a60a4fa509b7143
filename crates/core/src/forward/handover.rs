//! Handing listeners over from one process to the next, so that no connection is refused between them.
//!
//! Who ends binds a socket, says in the lock's file where it is, and gives the lock back; it goes on accepting. Who
//! gets the lock fetches the listeners there, as open descriptors: a connection that waits in one is not lost. Where
//! that fails on either side, the ports are bound anew, as after a process that was killed.

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

use crate::control::Holder;
use crate::home::Home;

/// Descriptors in one message: systems take 253 at most.
const AT_ONCE: usize = 128;
/// How long the next one may take to come: those with a lease try at once.
const COMES: Duration = Duration::from_secs(2);
/// How long the one before may take to give them.
const GIVES: Duration = Duration::from_secs(2);

/// What a process has before it forwards.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// Listeners of the one that forwarded before, by their addresses.
    listeners: BTreeMap<SocketAddr, TcpListener>,
    /// How many descriptors it might have; `None` for as many as it likes.
    pub(super) descriptors: Option<u64>,
}

impl Inherited {
    /// Takes as many descriptors as there may be, and what the one who held the lock before hands over: nothing where it
    /// was killed.
    pub(super) async fn of(holder: &mut Holder) -> Self {
        // First: the kernel drops listeners for which there is no room.
        let descriptors = super::raise_descriptors();
        let fetched = match holder.handed_over() {
            Some(path) => tokio::time::timeout(GIVES, fetch(&path)).await,
            None => Ok(Ok(BTreeMap::new())),
        };
        let listeners = match fetched {
            Ok(Ok(listeners)) => listeners,
            Ok(Err(error)) => {
                tracing::warn!(%error, "no listener is handed over");
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

    /// Keeps those of some ports.
    pub(super) fn retain(&mut self, kept: impl Fn(u16) -> bool) {
        self.listeners.retain(|address, _| kept(address.port()));
    }

    /// Descriptors of them, for another process.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let copies = self.listeners.values().map(TcpListener::try_clone);
        copies.map(|copy| copy.map(OwnedFd::from)).collect()
    }

    /// The one at an address.
    pub(super) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.listeners.remove(&address)
    }
}

async fn fetch(path: &Path) -> io::Result<BTreeMap<SocketAddr, TcpListener>> {
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

/// The descriptors of one message; none at the end.
fn receive(stream: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    let flags = RecvFlags::empty();
    #[cfg(target_os = "linux")]
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = recvmsg(stream, &mut into, &mut ancillary, flags)?;
    if message.flags.contains(ReturnFlags::CTRUNC) {
        tracing::warn!(
            "some listeners didn't fit: their ports are taken once the one before lets go"
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

/// A place at which listeners are fetched.
struct Offer {
    socket: UnixListener,
    path: PathBuf,
}

impl Offer {
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

    /// Gives them to the first of our user who comes.
    async fn give(&self, listeners: &[OwnedFd]) -> io::Result<()> {
        let own = rustix::process::geteuid().as_raw();
        let stream = loop {
            let (stream, _) = self.socket.accept().await?;
            if stream.peer_cred()?.uid() == own {
                break stream;
            }
        };
        for some in listeners.chunks(AT_ONCE) {
            stream
                .async_io(Interest::WRITABLE, || send(&stream, some))
                .await?;
        }
        Ok(())
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        // One that stays is taken away by the next who hands over.
        let _ = fs::remove_file(&self.path);
    }
}

fn send(stream: &UnixStream, listeners: &[OwnedFd]) -> io::Result<()> {
    let descriptors: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    // A message has to have a byte.
    sendmsg(
        stream,
        &[IoSlice::new(&[0])],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// What who ends leaves to who forwards next.
pub(super) struct HandoverServer {
    pub(super) listeners: Vec<OwnedFd>,
    /// How many leases there are, this process's own as well.
    pub(super) leases: usize,
}

/// What has become of the right to answer.
pub enum Handover {
    /// Somebody else has it now, and our listeners.
    Over,
    /// It is still ours, or was given back for nobody.
    NotOver(Option<Holder>),
}

impl HandoverServer {
    /// Gives the right to answer back, and the listeners to who takes it. Until then connections are accepted here, so
    /// forwarding has to go on until this has ended.
    pub(super) async fn hand_over(self, home: &Home, holder: Holder) -> Handover {
        let offer = match Offer::new(home) {
            Ok(offer) => offer,
            Err(error) => {
                tracing::warn!(%error, "listeners can't be handed over");
                return Handover::NotOver(Some(holder));
            }
        };
        if let Err(error) = holder.pass_on(&offer.path) {
            tracing::warn!(?error, "listeners can't be handed over");
            return Handover::NotOver(None);
        }
        match tokio::time::timeout(COMES, offer.give(&self.listeners)).await {
            Ok(Ok(())) => Handover::Over,
            Ok(Err(error)) => {
                tracing::warn!(%error, "listeners weren't handed over");
                Handover::NotOver(None)
            }
            // Who was there has gone meanwhile.
            Err(_) => Handover::NotOver(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_takes_the_lock_has_the_listeners_of_who_gave_it_back() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().into(), None, None);
        let first = Holder::claim(&home).unwrap().unwrap();
        // More than one message takes.
        let listeners: Vec<TcpListener> = (0..=AT_ONCE)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let address = listeners[AT_ONCE].local_addr().unwrap();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let given: Vec<OwnedFd> = listeners.into_iter().map(OwnedFd::from).collect();
        let here = home.clone();
        let legacy = HandoverServer {
            listeners: given,
            leases: 1,
        };
        let giver = tokio::spawn(async move { legacy.hand_over(&here, first).await });
        let mut second = loop {
            match Holder::claim(&home).unwrap() {
                Some(holder) => break holder,
                None => tokio::task::yield_now().await,
            }
        };
        let mut inherited = Inherited::of(&mut second).await;
        assert!(matches!(giver.await.unwrap(), Handover::Over));
        assert_eq!(inherited.listeners.len(), AT_ONCE + 1);
        // Not even who has come before is lost.
        let taken = inherited.take(address).unwrap();
        let (accepted, _) = taken.accept().unwrap();
        assert_eq!(accepted.peer_addr().unwrap(), waiting.local_addr().unwrap());
        drop(second);
        // Whoever comes next finds nothing to fetch.
        let mut third = Holder::claim(&home).unwrap().unwrap();
        assert!(Inherited::of(&mut third).await.is_empty());
    }
}
