//! The event loop: an edge-triggered epoll, and a queue of connections that can continue without an event.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto};

use crate::config::Config;
use crate::connection::{Connection, Next, disable_pacing};
use crate::pipes::Pipes;

/// Event ids that are no connection's.
const LISTENER: u64 = u64::MAX;
const INPUT: u64 = u64::MAX - 1;
const BACKLOG: i32 = 4096;
/// Connections without a request; beyond that the oldest is closed.
const MAX_PENDING: usize = 4096;
const EVENT_BATCH: usize = 256;

/// The running relay.
pub(crate) struct Server<'a> {
    epoll: OwnedFd,
    listener: OwnedFd,
    input: rustix::fd::BorrowedFd<'a>,
    config: Config,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    pipes: Pipes,
    queue: VecDeque<usize>,
    /// Slots and serial numbers, oldest first; some may have sent their request meanwhile.
    pending: VecDeque<(usize, u64)>,
    serial: u64,
    /// No descriptors were left to accept waiting connections.
    out_of_descriptors: bool,
}

impl<'a> Server<'a> {
    /// Listens on a port chosen by the kernel.
    pub(crate) fn new(config: Config, input: rustix::fd::BorrowedFd<'a>) -> io::Result<Self> {
        let family = match config.address {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        disable_pacing(&listener);
        net::bind(&listener, &SocketAddr::new(config.address, 0))?;
        net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), flags)?;
        epoll::add(&epoll, input, EventData::new_u64(INPUT), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            input,
            config,
            connections: Vec::new(),
            free: Vec::new(),
            pipes: Pipes::default(),
            queue: VecDeque::new(),
            pending: VecDeque::new(),
            serial: 0,
            out_of_descriptors: false,
        })
    }

    /// The listening port.
    pub(crate) fn port(&self) -> io::Result<u16> {
        let name = SocketAddr::try_from(net::getsockname(&self.listener)?)?;
        Ok(name.port())
    }

    /// Serves until the input ends, or there is no connection for `idle`.
    pub(crate) fn run(mut self, idle: Duration) -> io::Result<()> {
        let idle = Timespec::try_from(idle).map_err(io::Error::other)?;
        let mut events: Vec<Event> = Vec::with_capacity(EVENT_BATCH);
        loop {
            let is_idle = self.free.len() == self.connections.len();
            let timeout = match (self.queue.is_empty(), is_idle) {
                (false, _) => Some(Timespec::default()),
                (true, true) => Some(idle),
                (true, false) => None,
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(0) if is_idle && self.queue.is_empty() => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    INPUT if self.input_has_ended()? => return Ok(()),
                    INPUT => {}
                    name => self.handle_event(name, event.flags),
                }
            }
            for _ in 0..self.queue.len() {
                if let Some(slot) = self.queue.pop_front() {
                    self.advance(slot);
                }
            }
        }
    }

    fn input_has_ended(&self) -> io::Result<bool> {
        let mut buffer = [0; 64];
        match rustix::io::read(self.input, &mut buffer) {
            Ok(read) => Ok(read == 0),
            Err(Errno::INTR | Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            match net::acceptfrom_with(&self.listener, flags) {
                Ok((socket, from)) => {
                    let from = from.and_then(|from| SocketAddr::try_from(from).ok());
                    if from.is_some_and(|from| from.ip() == self.config.client) {
                        self.admit(socket);
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    self.out_of_descriptors = error != Errno::AGAIN;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        self.serial += 1;
        let slot = self.free.pop().unwrap_or(self.connections.len());
        if !self.register(&socket, slot, false) {
            self.free
                .extend((slot < self.connections.len()).then_some(slot));
            return;
        }
        let connection = Some(Connection::new(socket, self.serial));
        match self.connections.get_mut(slot) {
            Some(entry) => *entry = connection,
            None => self.connections.push(connection),
        }
        self.pending.push_back((slot, self.serial));
        self.advance(slot);
        while let Some((slot, serial)) = self.pending.front().copied() {
            let connection = self.connections.get(slot).and_then(Option::as_ref);
            let silent = connection
                .is_some_and(|connection| connection.serial == serial && connection.is_pending());
            match (silent, self.pending.len() > MAX_PENDING) {
                (true, false) => break,
                (true, true) => self.remove(slot),
                (false, _) => {}
            }
            self.pending.pop_front();
        }
    }

    /// Registers a connection's socket with epoll.
    fn register(&self, socket: impl AsFd, slot: usize, far: bool) -> bool {
        let name = EventData::new_u64((slot as u64) << 1 | u64::from(far));
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, name, flags).is_ok()
    }

    fn handle_event(&mut self, name: u64, flags: EventFlags) {
        let Ok(slot) = usize::try_from(name >> 1) else {
            return;
        };
        let is_far = name & 1 == 1;
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let end = if is_far {
            connection.far.as_mut()
        } else {
            Some(&mut connection.near)
        };
        let Some(end) = end else { return };
        let closed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        end.readable |= closed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        end.writable |= closed || flags.contains(EventFlags::OUT);
        if flags.contains(EventFlags::ERR) && connection.has_failed(is_far) {
            connection.reset();
            self.remove(slot);
        } else {
            self.advance(slot);
        }
    }

    fn advance(&mut self, slot: usize) {
        loop {
            let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut) else {
                return;
            };
            connection.queued = false;
            match connection.advance(&self.config, &mut self.pipes) {
                Next::Event => return,
                Next::Done => return self.remove(slot),
                Next::Requeue => return self.queue(slot),
                Next::Register => {}
            }
            let connection = self.connections.get(slot).and_then(Option::as_ref);
            let far = connection.and_then(|connection| connection.far.as_ref());
            if !far.is_some_and(|far| self.register(&far.socket, slot, true)) {
                return self.remove(slot);
            }
        }
    }

    fn queue(&mut self, slot: usize) {
        if let Some(connection) = self.connections.get_mut(slot).and_then(Option::as_mut)
            && !connection.queued
        {
            connection.queued = true;
            self.queue.push_back(slot);
        }
    }

    fn remove(&mut self, slot: usize) {
        let connection = self.connections.get_mut(slot).and_then(Option::take);
        if connection.is_none() {
            return;
        }
        drop(connection);
        self.free.push(slot);
        if std::mem::take(&mut self.out_of_descriptors) {
            self.accept();
        }
    }
}
