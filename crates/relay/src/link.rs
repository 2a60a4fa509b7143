//! A connection of the host, and the one that it is led to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, getpeername, ipproto,
    recv, send, socket_with, sockopt,
};

use crate::flow::{End, Flow};
use crate::order::{KEY, Order};
use crate::pipes::Pipes;

/// What a visitor says first: its key and a port, its high byte first.
pub(crate) const QUESTION: usize = KEY + 2;
/// Where services are looked for, in this order.
const TARGETS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// The byte behind our key.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Connected = 0,
    /// Nobody listens on the port, at neither address.
    Refused = 1,
    /// It can't be tried: no descriptors are left, say.
    Failed = 2,
}

/// What a link waits for, or that it is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Something that epoll tells.
    Event,
    /// Nothing: it goes on when others have had their turn.
    Turn,
    /// A new far end has to be heard.
    Hear,
    /// Both sides are through, or one has broken.
    Over,
}

enum Stage {
    Asked {
        question: [u8; QUESTION],
        read: usize,
    },
    /// A connection to this one of the targets is being made.
    Reaching {
        target: usize,
        port: u16,
    },
    Open,
}

pub(crate) struct Link {
    pub(crate) near: End,
    pub(crate) far: Option<End>,
    stage: Stage,
    up: Flow,
    down: Flow,
    /// Not the number of its slot: never given twice.
    pub(crate) serial: u64,
    /// Stands among those that go on without an event.
    pub(crate) queued: bool,
}

impl Link {
    pub(crate) fn new(socket: OwnedFd, serial: u64) -> Self {
        Self {
            near: End {
                socket,
                readable: true,
                writable: true,
            },
            far: None,
            stage: Stage::Asked {
                question: [0; QUESTION],
                read: 0,
            },
            up: Flow::default(),
            down: Flow::default(),
            serial,
            queued: false,
        }
    }

    /// Whether the visitor hasn't said yet who it is.
    pub(crate) fn is_unknown(&self) -> bool {
        matches!(self.stage, Stage::Asked { .. })
    }

    /// Goes on as far as it can.
    pub(crate) fn go_on(&mut self, order: &Order, pipes: &mut Pipes) -> Next {
        let next = match self.stage {
            Stage::Asked { .. } => self.listen(order),
            Stage::Reaching { target, port } => self.reach(order, target, port),
            Stage::Open => self.pass(pipes),
        };
        next.unwrap_or_else(|_| {
            self.break_off();
            Next::Over
        })
    }

    fn listen(&mut self, order: &Order) -> Result<Next> {
        let Stage::Asked { question, read } = &mut self.stage else {
            return Ok(Next::Over);
        };
        while *read < QUESTION {
            let rest = &mut question[*read..];
            match recv(&self.near.socket, rest, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(Next::Over),
                Ok((got, _)) => *read += got,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Next::Event),
                Err(error) => return Err(error),
            }
        }
        let (key, port) = question.split_at(KEY);
        if !order.visitors_key.is(key) {
            return Ok(Next::Over);
        }
        let port = u16::from_be_bytes([port[0], port[1]]);
        Ok(self.try_from(order, 0, port))
    }

    /// Begins a connection to the first target from here on that doesn't refuse at once.
    fn try_from(&mut self, order: &Order, first: usize, port: u16) -> Next {
        for (target, address) in TARGETS.into_iter().enumerate().skip(first) {
            match begin(SocketAddr::new(address, port)) {
                Ok(socket) => {
                    self.far = Some(End {
                        socket,
                        readable: false,
                        writable: false,
                    });
                    self.stage = Stage::Reaching { target, port };
                    return Next::Hear;
                }
                Err(error) if is_refusal(error) => {}
                Err(_) => return self.decline(order, Answer::Failed),
            }
        }
        self.decline(order, Answer::Refused)
    }

    fn reach(&mut self, order: &Order, target: usize, port: u16) -> Result<Next> {
        let Some(far) = self.far.as_mut().filter(|far| far.writable) else {
            return Ok(Next::Event);
        };
        match sockopt::socket_error(&far.socket)? {
            // An event of one that had this name before.
            Ok(()) if getpeername(&far.socket).is_err() => {
                far.writable = false;
                Ok(Next::Event)
            }
            Ok(()) => {
                sockopt::set_tcp_nodelay(&far.socket, true)?;
                sockopt::set_tcp_nodelay(&self.near.socket, true)?;
                self.answer(order, Answer::Connected)?;
                self.stage = Stage::Open;
                // What it says at once may have been told before.
                if let Some(far) = &mut self.far {
                    far.readable = true;
                }
                self.near.readable = true;
                Ok(Next::Turn)
            }
            Err(error) if is_refusal(error) => Ok(self.try_from(order, target + 1, port)),
            Err(_) => Ok(self.decline(order, Answer::Failed)),
        }
    }

    fn decline(&self, order: &Order, answer: Answer) -> Next {
        // A visitor that is gone needs no answer.
        let _ = self.answer(order, answer);
        Next::Over
    }

    /// The first bytes that this socket is given: there is room for them.
    fn answer(&self, order: &Order, answer: Answer) -> Result<()> {
        let mut bytes = [0; KEY + 1];
        bytes[..KEY].copy_from_slice(&order.own_key.0);
        bytes[KEY] = answer as u8;
        match send(&self.near.socket, &bytes, SendFlags::NOSIGNAL)? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(Errno::NOBUFS),
        }
    }

    fn pass(&mut self, pipes: &mut Pipes) -> Result<Next> {
        let Some(far) = &mut self.far else {
            return Ok(Next::Over);
        };
        let up = self.up.turn(&mut self.near, far, pipes)?;
        let down = self.down.turn(far, &mut self.near, pipes)?;
        Ok(match (up || down, self.up.closed && self.down.closed) {
            (_, true) => Next::Over,
            (true, false) => Next::Turn,
            (false, false) => Next::Event,
        })
    }

    /// Has both sides see that it didn't end well.
    pub(crate) fn break_off(&self) {
        for end in std::iter::once(&self.near).chain(&self.far) {
            // Closing it is a reset then.
            let _ = sockopt::set_socket_linger(&end.socket, Some(std::time::Duration::ZERO));
        }
    }

    /// Whether one of its open sockets has broken, which only epoll tells of a side that isn't read.
    /// Of one that is being connected the error is left for [`Self::reach`]: it is told once.
    pub(crate) fn has_broken(&self, far: bool) -> bool {
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

fn begin(target: SocketAddr) -> Result<OwnedFd> {
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

/// Has a socket, or those that are accepted at it, send as fast as is taken: all that we have lead through memory, and
/// where the guest's congestion control is BBR they would send by a timer. Where that can't be, it is only slower.
pub(crate) fn disable_pacing(socket: &impl AsFd) {
    let _ = sockopt::set_tcp_congestion(socket, "reno");
}

/// Whether nobody is there; a guest without IPv6 says so in its own way.
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
