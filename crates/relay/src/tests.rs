//! A relay between sockets of this machine.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::order::{KEY, Key, Order};
use crate::server::Server;

const OURS: [u8; KEY] = [1; KEY];
const ITS: [u8; KEY] = [2; KEY];
/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// A relay on a thread, until its input is closed.
struct Relay {
    port: u16,
    input: Option<OwnedFd>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Relay {
    fn start(visitor: Ipv4Addr) -> Self {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let order = Order {
            visitors_key: Key(OURS),
            own_key: Key(ITS),
            address: Ipv4Addr::LOCALHOST.into(),
            visitor: visitor.into(),
        };
        let (told, port) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let server = Server::new(order, reader.as_fd())?;
            told.send(server.port()?).unwrap();
            server.run(LONG)
        });
        Self {
            port: port.recv().unwrap(),
            input: Some(writer),
            thread: Some(thread),
        }
    }

    fn knock(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // A defect fails the test, rather than have it wait for ever.
        stream.set_read_timeout(Some(LONG / 10)).unwrap();
        stream
    }

    /// Asks for a port; the answer's last byte.
    fn ask(&self, port: u16) -> (TcpStream, u8) {
        let mut stream = self.knock();
        stream.write_all(&question(port)).unwrap();
        let mut answer = [0; KEY + 1];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..KEY], ITS);
        (stream, answer[KEY])
    }

    fn end(&mut self) -> std::io::Result<()> {
        self.input = None;
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end().unwrap();
        }
    }
}

fn question(port: u16) -> Vec<u8> {
    [&OURS[..], &port.to_be_bytes()].concat()
}

fn service(address: &str) -> Option<(TcpListener, u16)> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    let port = listener.local_addr().unwrap().port();
    Some((listener, port))
}

/// Bytes of which no two places are alike.
fn bytes(length: u32) -> Vec<u8> {
    (0..length)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

#[test]
fn many_bytes_pass_both_ways_and_each_way_ends_by_itself() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    for address in ["127.0.0.1", "::1"] {
        // A machine without IPv6 has one family only.
        let Some((service, port)) = service(address) else {
            assert_eq!(address, "::1");
            continue;
        };
        let (mut near, answer) = relay.ask(port);
        assert_eq!(answer, 0);
        let echo = std::thread::spawn(move || {
            let (mut far, _) = service.accept().unwrap();
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            // Its way back is open though ours has ended.
            far.write_all(&all).unwrap();
            all.len()
        });
        let sent = bytes(8 << 20);
        near.write_all(&sent).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).unwrap();
        assert_eq!(echo.join().unwrap(), sent.len());
        assert!(heard == sent, "{} bytes came back", heard.len());
    }
}

#[test]
fn a_service_may_speak_first_and_end_first() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    let (mut near, _) = relay.ask(port);
    let (mut far, _) = service.accept().unwrap();
    far.write_all(b"welcome").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    near.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"welcome");
    near.write_all(b"thanks").unwrap();
    drop(near);
    heard.clear();
    far.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"thanks");
}

#[test]
fn a_reset_arrives_on_the_other_side() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    let (mut near, _) = relay.ask(port);
    let (far, _) = service.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
    drop(far);
    let error = near.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_port_without_a_service_is_refused_at_once() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    drop(service);
    let (mut near, answer) = relay.ask(port);
    assert_eq!(answer, 1);
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn a_question_may_come_byte_by_byte() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (_service, port) = service("127.0.0.1").unwrap();
    let mut near = relay.knock();
    near.set_nodelay(true).unwrap();
    for byte in question(port) {
        near.write_all(&[byte]).unwrap();
    }
    let mut answer = [0; KEY + 1];
    near.read_exact(&mut answer).unwrap();
    assert_eq!(answer[KEY], 0);
}

#[test]
fn who_has_not_the_key_gets_nothing() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    service.set_nonblocking(true).unwrap();
    let mut wrong = question(port);
    wrong[KEY - 1] ^= 1;
    for said in [&wrong[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut near = relay.knock();
        near.write_all(said).unwrap();
        // Closed with or without bytes unread.
        let heard = near.read(&mut [0; 8]);
        assert!(!matches!(heard, Ok(1..)), "{heard:?}");
    }
    assert_eq!(service.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_visitor_from_elsewhere_gets_nothing() {
    let relay = Relay::start(Ipv4Addr::new(192, 0, 2, 1));
    let (_service, port) = service("127.0.0.1").unwrap();
    let mut near = relay.knock();
    // The relay may have closed already.
    let _ = near.write_all(&question(port));
    let heard = near.read(&mut [0; 8]);
    assert!(!matches!(heard, Ok(1..)), "{heard:?}");
}

#[test]
fn many_connections_take_turns() {
    let mut relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    let echo = std::thread::spawn(move || {
        let mut streams = Vec::new();
        for stream in service.incoming().take(200) {
            streams.push(stream.unwrap());
        }
        for mut stream in streams.into_iter().rev() {
            std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        }
    });
    let links: Vec<_> = (0..200).map(|_| relay.ask(port).0).collect();
    // All at once: the first is answered last, with the others' bytes waiting.
    for near in &links {
        let mut near = near;
        near.write_all(&bytes(50_000)).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
    }
    for mut near in links {
        let mut heard = Vec::new();
        near.read_to_end(&mut heard).unwrap();
        assert!(heard == bytes(50_000), "{} bytes", heard.len());
    }
    echo.join().unwrap();
    relay.end().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", relay.port)).is_err());
}

#[test]
fn it_ends_when_nobody_is_there() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let order = Order {
        visitors_key: Key(OURS),
        own_key: Key(ITS),
        address: Ipv4Addr::LOCALHOST.into(),
        visitor: Ipv4Addr::LOCALHOST.into(),
    };
    let server = Server::new(order, reader.as_fd()).unwrap();
    server.run(Duration::ZERO).unwrap();
}

#[test]
fn an_address_of_another_machine_is_not_listened_on() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let order = Order {
        visitors_key: Key(OURS),
        own_key: Key(ITS),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        visitor: Ipv4Addr::LOCALHOST.into(),
    };
    let error = Server::new(order, reader.as_fd()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}
