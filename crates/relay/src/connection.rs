//! A connection of the host, and its connection to a service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, getpeername, ipproto,
    recv, send, socket_with, sockopt,
};

use crate::config::{Config, KEY_BYTES};
use crate::flow::{End, Flow};
use crate::pipes::Pipes;

/// Length of a request: key and port (big-endian).
pub(crate) const REQUEST_BYTES: usize = KEY_BYTES + 2;
/// In the order of attempts.
const TARGETS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// The status byte after our key.
#[derive(Clone, Copy)]
pub(crate) enum Status {
    Connected = 0,
    /// Nothing is listening on the port.
    Refused = 1,
    /// Not attempted, for example without free descriptors.
    Failed = 2,
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// An event of epoll.
    Event,
    /// Nothing: it continues after the others.
    Requeue,
    /// Registration of its far socket.
    Register,
    /// It has ended or failed.
    Done,
}

enum Stage {
    ReadingRequest {
        request: [u8; REQUEST_BYTES],
        read: usize,
    },
    /// Connecting to this index in [`TARGETS`].
    Connecting {
        target: usize,
        port: u16,
    },
    Open,
}

pub(crate) struct Connection {
    pub(crate) near: End,
    pub(crate) far: Option<End>,
    stage: Stage,
    up: Flow,
    down: Flow,
    /// Unique, unlike its slot.
    pub(crate) serial: u64,
    /// In the queue of those that continue without an event.
    pub(crate) queued: bool,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, serial: u64) -> Self {
        Self {
            near: End {
                socket,
                readable: true,
                writable: true,
            },
            far: None,
            stage: Stage::ReadingRequest {
                request: [0; REQUEST_BYTES],
                read: 0,
            },
            up: Flow::default(),
            down: Flow::default(),
            serial,
            queued: false,
        }
    }

    /// Whether the request is incomplete.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::ReadingRequest { .. })
    }

    /// Continues as far as possible.
    pub(crate) fn advance(&mut self, config: &Config, pipes: &mut Pipes) -> Next {
        let next = match self.stage {
            Stage::ReadingRequest { .. } => self.read_request(config),
            Stage::Connecting { target, port } => self.connect(config, target, port),
            Stage::Open => self.transfer(pipes),
        };
        next.unwrap_or_else(|_| {
            self.reset();
            Next::Done
        })
    }

    fn read_request(&mut self, config: &Config) -> Result<Next> {
        let Stage::ReadingRequest { request, read } = &mut self.stage else {
            return Ok(Next::Done);
        };
        while *read < REQUEST_BYTES {
            let rest = &mut request[*read..];
            match recv(&self.near.socket, rest, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(Next::Done),
                Ok((got, _)) => *read += got,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Next::Event),
                Err(error) => return Err(error),
            }
        }
        let (key, port) = request.split_at(KEY_BYTES);
        if !config.client_key.is(key) {
            return Ok(Next::Done);
        }
        let port = u16::from_be_bytes([port[0], port[1]]);
        Ok(self.connect_from(config, 0, port))
    }

    /// Connects to the first target, from `first` on, that doesn't refuse at once.
    fn connect_from(&mut self, config: &Config, first: usize, port: u16) -> Next {
        for (target, address) in TARGETS.into_iter().enumerate().skip(first) {
            match open(SocketAddr::new(address, port)) {
                Ok(socket) => {
                    self.far = Some(End {
                        socket,
                        readable: false,
                        writable: false,
                    });
                    self.stage = Stage::Connecting { target, port };
                    return Next::Register;
                }
                Err(error) if is_refusal(error) => {}
                Err(_) => return self.decline(config, Status::Failed),
            }
        }
        self.decline(config, Status::Refused)
    }

    fn connect(&mut self, config: &Config, target: usize, port: u16) -> Result<Next> {
        let Some(far) = self.far.as_mut().filter(|far| far.writable) else {
            return Ok(Next::Event);
        };
        match sockopt::socket_error(&far.socket)? {
            // An event of a previous socket with this id.
            Ok(()) if getpeername(&far.socket).is_err() => {
                far.writable = false;
                Ok(Next::Event)
            }
            Ok(()) => {
                sockopt::set_tcp_nodelay(&far.socket, true)?;
                sockopt::set_tcp_nodelay(&self.near.socket, true)?;
                self.answer(config, Status::Connected)?;
                self.stage = Stage::Open;
                // Its first bytes may have been reported already.
                if let Some(far) = &mut self.far {
                    far.readable = true;
                }
                self.near.readable = true;
                Ok(Next::Requeue)
            }
            Err(error) if is_refusal(error) => Ok(self.connect_from(config, target + 1, port)),
            Err(_) => Ok(self.decline(config, Status::Failed)),
        }
    }

    fn decline(&self, config: &Config, status: Status) -> Next {
        // The client may be gone.
        let _ = self.answer(config, status);
        Next::Done
    }

    /// The first bytes on this socket, which fit into its buffer.
    fn answer(&self, config: &Config, status: Status) -> Result<()> {
        let mut bytes = [0; KEY_BYTES + 1];
        bytes[..KEY_BYTES].copy_from_slice(&config.own_key.0);
        bytes[KEY_BYTES] = status as u8;
        match send(&self.near.socket, &bytes, SendFlags::NOSIGNAL)? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(Errno::NOBUFS),
        }
    }

    fn transfer(&mut self, pipes: &mut Pipes) -> Result<Next> {
        let Some(far) = &mut self.far else {
            return Ok(Next::Done);
        };
        let up = self.up.transfer(&mut self.near, far, pipes)?;
        let down = self.down.transfer(far, &mut self.near, pipes)?;
        Ok(match (up || down, self.up.closed && self.down.closed) {
            (_, true) => Next::Done,
            (true, false) => Next::Requeue,
            (false, false) => Next::Event,
        })
    }

    /// Resets both sides.
    pub(crate) fn reset(&self) {
        for end in std::iter::once(&self.near).chain(&self.far) {
            // Closing sends a reset.
            let _ = sockopt::set_socket_linger(&end.socket, Some(std::time::Duration::ZERO));
        }
    }

    /// Whether an open socket has failed, which only epoll reports for a side that isn't read. The error of a connecting
    /// socket can be read once, so it is left for [`Self::connect`].
    pub(crate) fn has_failed(&self, far: bool) -> bool {
        let end = if far {
            self.far.as_ref()
        } else {
            Some(&self.near)
        };
        let Some(end) = end.filter(|_| matches!(self.stage, Stage::Open)) else {
            return false;
        };
        matches!(sockopt::socket_error(&end.socket), Ok(Err(_)) | Err(_))
    }
}

fn open(target: SocketAddr) -> Result<OwnedFd> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    disable_pacing(&socket);
    match connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Disables pacing on a socket and those accepted from it: with BBR they would send by a timer, but all bytes pass
/// through memory. A failure only costs speed.
pub(crate) fn disable_pacing(socket: &impl AsFd) {
    let _ = sockopt::set_tcp_congestion(socket, "reno");
}

/// Whether nothing is listening; includes the errors of a guest without IPv6.
fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::CONNREFUSED
            | Errno::ADDRNOTAVAIL
            | Errno::AFNOSUPPORT
            | Errno::NETUNREACH
            | Errno::HOSTUNREACH
    )
}
