//! A service. A connection's first byte says what it wants:
//!
//! - `s`: zeros, as fast as they are taken;
//! - `e`: what it sends, back;
//! - `h`: the same byte, and then nothing for as long as it stays;
//! - `l` and two bytes, the highest first: that something listens on this port, until one has come there and been told in
//!   eight bytes when that began, in nanoseconds of the clock that env and host share;
//! - `G`: what a web server answers, again and again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::SystemTime;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::http;

/// Bytes of one write.
const CHUNK: usize = 256 * 1024;

/// Serves until it is killed; says that it listens.
pub(crate) fn serve(address: &str) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all)?;
    let listener = TcpListener::bind(address)?;
    // The standard library's backlog is for a quiet life.
    rustix::net::listen(&listener, 4096)?;
    let here = listener.local_addr()?.ip();
    writeln!(io::stdout(), "listening")?;
    io::stdout().flush()?;
    let (pages, requests) = channel();
    let (hold, held) = channel();
    thread::spawn(move || http::answer(&requests));
    thread::spawn(move || held.into_iter().collect::<Vec<TcpStream>>());
    for client in listener.incoming() {
        let (client, pages, hold) = (client?, pages.clone(), hold.clone());
        let one = move || greet(client, here, &pages, &hold);
        // A client that goes away in the middle is a client's good right.
        thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || one().unwrap_or_default())?;
    }
    Ok(())
}

fn greet(
    mut client: TcpStream,
    here: IpAddr,
    pages: &Sender<TcpStream>,
    hold: &Sender<TcpStream>,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut first = [0];
    client.read_exact(&mut first)?;
    match first[0] {
        b's' => flood(client),
        b'e' => io::copy(&mut client.try_clone()?, &mut client).map(drop),
        b'h' => {
            client.write_all(b"h")?;
            hold.send(client).map_err(io::Error::other)
        }
        b'l' => late(client, here),
        b'G' => pages.send(client).map_err(io::Error::other),
        _ => Ok(()),
    }
}

fn flood(mut client: TcpStream) -> io::Result<()> {
    let zeros = vec![0; CHUNK];
    loop {
        client.write_all(&zeros)?;
    }
}

fn late(mut client: TcpStream, here: IpAddr) -> io::Result<()> {
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    let listener = TcpListener::bind((here, u16::from_be_bytes(port)))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_err(io::Error::other)?.as_nanos();
    let now = u64::try_from(now).map_err(io::Error::other)?;
    let (mut visitor, _) = listener.accept()?;
    match visitor.read(&mut [0]) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(_) => visitor.write_all(&now.to_be_bytes()),
        Err(error) => Err(error),
    }
}
