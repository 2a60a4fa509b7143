//! The loop: one epoll, told once of each change, and a list of those that can go on without one.

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

use crate::link::{Link, Next, disable_pacing};
use crate::order::Order;
use crate::pipes::Pipes;

/// Names of events that are no link's.
const LISTENER: u64 = u64::MAX;
const INPUT: u64 = u64::MAX - 1;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Connections that may be silent about who they are. The oldest goes then.
const UNKNOWN: usize = 4096;
/// Events that are taken at once.
const BATCH: usize = 256;

/// The relay at work.
pub(crate) struct Server<'a> {
    epoll: OwnedFd,
    listener: OwnedFd,
    input: rustix::fd::BorrowedFd<'a>,
    order: Order,
    links: Vec<Option<Link>>,
    free: Vec<usize>,
    pipes: Pipes,
    turns: VecDeque<usize>,
    /// Slots and serial numbers, oldest first; some have said in the meantime who they are.
    unknown: VecDeque<(usize, u64)>,
    serial: u64,
    /// Connections wait that could not be accepted for want of descriptors.
    full: bool,
}

impl<'a> Server<'a> {
    /// Listens at the address of the order, on a port that the kernel chooses.
    pub(crate) fn new(order: Order, input: rustix::fd::BorrowedFd<'a>) -> io::Result<Self> {
        let family = match order.address {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        disable_pacing(&listener);
        net::bind(&listener, &SocketAddr::new(order.address, 0))?;
        net::listen(&listener, BACKLOG)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let told = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), told)?;
        epoll::add(&epoll, input, EventData::new_u64(INPUT), EventFlags::IN)?;
        Ok(Self {
            epoll,
            listener,
            input,
            order,
            links: Vec::new(),
            free: Vec::new(),
            pipes: Pipes::default(),
            turns: VecDeque::new(),
            unknown: VecDeque::new(),
            serial: 0,
            full: false,
        })
    }

    /// The port on which it listens.
    pub(crate) fn port(&self) -> io::Result<u16> {
        let name = SocketAddr::try_from(net::getsockname(&self.listener)?)?;
        Ok(name.port())
    }

    /// Serves until its input ends, or nobody has come for this long.
    pub(crate) fn run(mut self, idle: Duration) -> io::Result<()> {
        let idle = Timespec::try_from(idle).map_err(io::Error::other)?;
        let mut events: Vec<Event> = Vec::with_capacity(BATCH);
        loop {
            let alone = self.free.len() == self.links.len();
            let timeout = match (self.turns.is_empty(), alone) {
                (false, _) => Some(Timespec::default()),
                (true, true) => Some(idle),
                (true, false) => None,
            };
            match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
                Ok(0) if alone && self.turns.is_empty() => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    INPUT if self.input_has_ended()? => return Ok(()),
                    INPUT => {}
                    name => self.hear(name, event.flags),
                }
            }
            for _ in 0..self.turns.len() {
                if let Some(slot) = self.turns.pop_front() {
                    self.give_turn(slot);
                }
            }
        }
    }

    fn input_has_ended(&self) -> io::Result<bool> {
        let mut scrap = [0; 64];
        match rustix::io::read(self.input, &mut scrap) {
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
                    if from.is_some_and(|from| from.ip() == self.order.visitor) {
                        self.admit(socket);
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(error) => {
                    self.full = error != Errno::AGAIN;
                    return;
                }
            }
        }
    }

    fn admit(&mut self, socket: OwnedFd) {
        self.serial += 1;
        let slot = self.free.pop().unwrap_or(self.links.len());
        if !self.tell_of(&socket, slot, false) {
            self.free.extend((slot < self.links.len()).then_some(slot));
            return;
        }
        let link = Some(Link::new(socket, self.serial));
        match self.links.get_mut(slot) {
            Some(place) => *place = link,
            None => self.links.push(link),
        }
        self.unknown.push_back((slot, self.serial));
        self.give_turn(slot);
        while let Some((slot, serial)) = self.unknown.front().copied() {
            let link = self.links.get(slot).and_then(Option::as_ref);
            let silent = link.is_some_and(|link| link.serial == serial && link.is_unknown());
            match (silent, self.unknown.len() > UNKNOWN) {
                (true, false) => break,
                (true, true) => self.remove(slot),
                (false, _) => {}
            }
            self.unknown.pop_front();
        }
    }

    /// Has epoll tell of all that happens to a link's socket.
    fn tell_of(&self, socket: impl AsFd, slot: usize, far: bool) -> bool {
        let name = EventData::new_u64((slot as u64) << 1 | u64::from(far));
        let told = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, name, told).is_ok()
    }

    fn hear(&mut self, name: u64, flags: EventFlags) {
        let Ok(slot) = usize::try_from(name >> 1) else {
            return;
        };
        let is_far = name & 1 == 1;
        let Some(link) = self.links.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let end = if is_far {
            link.far.as_mut()
        } else {
            Some(&mut link.near)
        };
        let Some(end) = end else { return };
        let over = flags.intersects(EventFlags::HUP | EventFlags::ERR);
        end.readable |= over || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
        end.writable |= over || flags.contains(EventFlags::OUT);
        if flags.contains(EventFlags::ERR) && link.has_broken(is_far) {
            link.break_off();
            self.remove(slot);
        } else {
            self.give_turn(slot);
        }
    }

    fn give_turn(&mut self, slot: usize) {
        loop {
            let Some(link) = self.links.get_mut(slot).and_then(Option::as_mut) else {
                return;
            };
            link.queued = false;
            match link.go_on(&self.order, &mut self.pipes) {
                Next::Event => return,
                Next::Over => return self.remove(slot),
                Next::Turn => return self.queue(slot),
                Next::Hear => {}
            }
            let link = self.links.get(slot).and_then(Option::as_ref);
            let far = link.and_then(|link| link.far.as_ref());
            if !far.is_some_and(|far| self.tell_of(&far.socket, slot, true)) {
                return self.remove(slot);
            }
        }
    }

    fn queue(&mut self, slot: usize) {
        if let Some(link) = self.links.get_mut(slot).and_then(Option::as_mut)
            && !link.queued
        {
            link.queued = true;
            self.turns.push_back(slot);
        }
    }

    fn remove(&mut self, slot: usize) {
        let gone = self.links.get_mut(slot).and_then(Option::take);
        if gone.is_none() {
            return;
        }
        drop(gone);
        self.free.push(slot);
        if std::mem::take(&mut self.full) {
            self.accept();
        }
    }
}
