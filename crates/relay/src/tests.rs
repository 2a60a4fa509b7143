//! Tests with a relay on loopback.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::{Config, KEY_BYTES, Key};
use crate::server::Server;

const CLIENT_KEY: [u8; KEY_BYTES] = [1; KEY_BYTES];
const RELAY_KEY: [u8; KEY_BYTES] = [2; KEY_BYTES];
/// Longer than any test.
const TEST_TIMEOUT: Duration = Duration::from_secs(600);

/// A relay on a thread; ends when its input is closed.
struct Relay {
    port: u16,
    input: Option<OwnedFd>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Relay {
    fn start(client: Ipv4Addr) -> Self {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let config = Config {
            client_key: Key(CLIENT_KEY),
            own_key: Key(RELAY_KEY),
            address: Ipv4Addr::LOCALHOST.into(),
            client: client.into(),
        };
        let (sender, port) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let server = Server::new(config, reader.as_fd())?;
            sender.send(server.port()?).unwrap();
            server.run(TEST_TIMEOUT)
        });
        Self {
            port: port.recv().unwrap(),
            input: Some(writer),
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // Fails instead of blocking forever.
        stream.set_read_timeout(Some(TEST_TIMEOUT / 10)).unwrap();
        stream
    }

    /// Requests a port; returns the status byte.
    fn request_port(&self, port: u16) -> (TcpStream, u8) {
        let mut stream = self.connect();
        stream.write_all(&request(port)).unwrap();
        let mut status = [0; KEY_BYTES + 1];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(status[..KEY_BYTES], RELAY_KEY);
        (stream, status[KEY_BYTES])
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

fn request(port: u16) -> Vec<u8> {
    [&CLIENT_KEY[..], &port.to_be_bytes()].concat()
}

fn service(address: &str) -> Option<(TcpListener, u16)> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    let port = listener.local_addr().unwrap().port();
    Some((listener, port))
}

/// Bytes without repeating patterns.
fn bytes(length: u32) -> Vec<u8> {
    (0..length)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

#[test]
fn transfers_both_ways_and_half_closes() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    for address in ["127.0.0.1", "::1"] {
        // Without IPv6 there is one family only.
        let Some((service, port)) = service(address) else {
            assert_eq!(address, "::1");
            continue;
        };
        let (mut near, status) = relay.request_port(port);
        assert_eq!(status, 0);
        let echo = std::thread::spawn(move || {
            let (mut far, _) = service.accept().unwrap();
            let mut all = Vec::new();
            far.read_to_end(&mut all).unwrap();
            // The other direction is still open.
            far.write_all(&all).unwrap();
            all.len()
        });
        let sent = bytes(8 << 20);
        near.write_all(&sent).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        let mut received = Vec::new();
        near.read_to_end(&mut received).unwrap();
        assert_eq!(echo.join().unwrap(), sent.len());
        assert!(received == sent, "{} bytes came back", received.len());
    }
}

#[test]
fn service_may_send_and_close_first() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    let (mut near, _) = relay.request_port(port);
    let (mut far, _) = service.accept().unwrap();
    far.write_all(b"welcome").unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    let mut received = Vec::new();
    near.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"welcome");
    near.write_all(b"thanks").unwrap();
    drop(near);
    received.clear();
    far.read_to_end(&mut received).unwrap();
    assert_eq!(received, b"thanks");
}

#[test]
fn forwards_resets() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    let (mut near, _) = relay.request_port(port);
    let (far, _) = service.accept().unwrap();
    rustix::net::sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
    drop(far);
    let error = near.read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn refuses_port_without_service() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    drop(service);
    let (mut near, status) = relay.request_port(port);
    assert_eq!(status, 1);
    assert_eq!(near.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn accepts_request_byte_by_byte() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (_service, port) = service("127.0.0.1").unwrap();
    let mut near = relay.connect();
    near.set_nodelay(true).unwrap();
    for byte in request(port) {
        near.write_all(&[byte]).unwrap();
    }
    let mut status = [0; KEY_BYTES + 1];
    near.read_exact(&mut status).unwrap();
    assert_eq!(status[KEY_BYTES], 0);
}

#[test]
fn closes_connections_with_wrong_key() {
    let relay = Relay::start(Ipv4Addr::LOCALHOST);
    let (service, port) = service("127.0.0.1").unwrap();
    service.set_nonblocking(true).unwrap();
    let mut wrong = request(port);
    wrong[KEY_BYTES - 1] ^= 1;
    for sent in [&wrong[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut near = relay.connect();
        near.write_all(sent).unwrap();
        // Closed, with or without a reset.
        let received = near.read(&mut [0; 8]);
        assert!(!matches!(received, Ok(1..)), "{received:?}");
    }
    assert_eq!(service.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn closes_connections_from_other_addresses() {
    let relay = Relay::start(Ipv4Addr::new(192, 0, 2, 1));
    let (_service, port) = service("127.0.0.1").unwrap();
    let mut near = relay.connect();
    // The relay may have closed already.
    let _ = near.write_all(&request(port));
    let received = near.read(&mut [0; 8]);
    assert!(!matches!(received, Ok(1..)), "{received:?}");
}

#[test]
fn serves_many_connections() {
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
    let streams: Vec<_> = (0..200).map(|_| relay.request_port(port).0).collect();
    // The first is answered last, while bytes of the others are pending.
    for near in &streams {
        let mut near = near;
        near.write_all(&bytes(50_000)).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
    }
    for mut near in streams {
        let mut received = Vec::new();
        near.read_to_end(&mut received).unwrap();
        assert!(received == bytes(50_000), "{} bytes", received.len());
    }
    echo.join().unwrap();
    relay.end().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", relay.port)).is_err());
}

#[test]
fn ends_when_idle() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let config = Config {
        client_key: Key(CLIENT_KEY),
        own_key: Key(RELAY_KEY),
        address: Ipv4Addr::LOCALHOST.into(),
        client: Ipv4Addr::LOCALHOST.into(),
    };
    let server = Server::new(config, reader.as_fd()).unwrap();
    server.run(Duration::ZERO).unwrap();
}

#[test]
fn rejects_foreign_listen_address() {
    let (reader, _writer) = rustix::pipe::pipe().unwrap();
    let config = Config {
        client_key: Key(CLIENT_KEY),
        own_key: Key(RELAY_KEY),
        address: Ipv4Addr::new(192, 0, 2, 1).into(),
        client: Ipv4Addr::LOCALHOST.into(),
    };
    let error = Server::new(config, reader.as_fd()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}
