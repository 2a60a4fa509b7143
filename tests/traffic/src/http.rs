//! Requests that are as small as a web server's can be, so that the way is what is seen and not the server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 32\r\n\r\n\
    0123456789abcdef0123456789abcdef";
/// Events that are taken at once.
const BATCH: usize = 64;
/// How long the server waits before it looks for new connections.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Answers all connections that it is sent, in one thread. Of each the first byte has been read.
pub(crate) fn answer(new: &Receiver<TcpStream>) -> io::Result<()> {
    let mut all = Connections::new()?;
    loop {
        loop {
            match new.try_recv() {
                // The first request is in the socket but for its first byte, which may be so.
                Ok(client) => all.add(client)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        if all.is_empty() {
            // Nothing to answer yet: the next one is waited for.
            match new.recv() {
                Ok(client) => all.add(client)?,
                Err(_) => return Ok(()),
            }
        }
        all.turn(POLL_INTERVAL, |said| {
            said.ends_with(b"\r\n\r\n").then_some(ANSWER)
        })?;
    }
}

/// Asks by so many connections at once for so long, and prints requests a second.
pub(crate) fn client(address: &str, connections: &str, span: &str) -> io::Result<()> {
    let connections: usize = connections.parse().map_err(io::Error::other)?;
    let span = Duration::from_millis(span.parse().map_err(io::Error::other)?);
    let mut all = Connections::new()?;
    for _ in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(REQUEST)?;
        all.add(stream)?;
    }
    let (begun, mut answers) = (Instant::now(), 0_u64);
    while begun.elapsed() < span {
        let gone = all.turn(POLL_INTERVAL, |said| {
            (said.len() >= ANSWER.len()).then(|| {
                answers += 1;
                REQUEST
            })
        })?;
        if gone > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
    let rate = answers as f64 / begun.elapsed().as_secs_f64();
    writeln!(io::stdout(), "{rate}")
}

/// Connections, each with what it has said since it was told something.
struct Connections {
    epoll: std::os::fd::OwnedFd,
    all: Vec<Option<(TcpStream, Vec<u8>)>>,
    open: usize,
    events: Vec<Event>,
}

impl Connections {
    fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            all: Vec::new(),
            open: 0,
            events: Vec::with_capacity(BATCH),
        })
    }

    fn is_empty(&self) -> bool {
        self.open == 0
    }

    fn add(&mut self, stream: TcpStream) -> io::Result<()> {
        let name = EventData::new_u64(self.all.len() as u64);
        epoll::add(&self.epoll, &stream, name, EventFlags::IN)?;
        self.all.push(Some((stream, Vec::new())));
        self.open += 1;
        Ok(())
    }

    /// Hears all that have said something, and replies to those for whom there is a reply. How many have gone.
    fn turn(
        &mut self,
        timeout: Duration,
        mut reply: impl FnMut(&[u8]) -> Option<&'static [u8]>,
    ) -> io::Result<usize> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut gone = 0;
        for event in self.events.drain(..) {
            let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(place) = self.all.get_mut(place) else {
                continue;
            };
            let Some((stream, said)) = place else {
                continue;
            };
            if !hear(stream, said) {
                *place = None;
                gone += 1;
                continue;
            }
            if let Some(reply) = reply(said) {
                said.clear();
                // As small as it is, it fits; one that is gone is seen at its next turn.
                let _ = stream.write_all(reply);
            }
        }
        self.open -= gone;
        Ok(gone)
    }
}

fn hear(stream: &mut TcpStream, said: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => false,
        Ok(length) => {
            said.extend_from_slice(&chunk[..length]);
            true
        }
    }
}
