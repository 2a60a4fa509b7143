//! Load on one way; see `tests/traffic/src/serve.rs` for what the other end does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::place::connect;

/// Bytes that are taken at once.
const BUFFER: usize = 1 << 20;

/// Bytes a second of some streams at once: as fast as they come, or as many a second as is asked for.
pub fn rate(
    address: SocketAddr,
    streams: usize,
    span: Duration,
    asked: Option<f64>,
) -> Result<f64> {
    let begun = Instant::now();
    let each = asked.map(|asked| (asked / streams as f64) as u64);
    let takers: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || take(address, begun, span, each)))
        .collect();
    let mut bytes = 0;
    for taker in takers {
        bytes += taker.join().ok().context("a client failed")??;
    }
    Ok(bytes as f64 / begun.elapsed().as_secs_f64())
}

fn take(address: SocketAddr, begun: Instant, span: Duration, each: Option<u64>) -> Result<u64> {
    let mut stream = connect(address)?;
    match each {
        None => stream.write_all(b"s")?,
        Some(each) => stream.write_all(&[b"p", each.to_be_bytes().as_slice()].concat())?,
    }
    let (mut buffer, mut all) = (vec![0; BUFFER], 0);
    while begun.elapsed() < span {
        match stream.read(&mut buffer)? {
            0 => bail!("it ended after {all} bytes"),
            length => all += length as u64,
        }
    }
    // The way may have ended it meanwhile.
    let _ = stream.shutdown(Shutdown::Both);
    Ok(all)
}

/// Seconds until a new connection has carried a byte there and back.
pub fn first_byte(address: SocketAddr) -> Result<f64> {
    let begun = Instant::now();
    let mut stream = connect(address)?;
    stream.write_all(b"e1")?;
    stream.read_exact(&mut [0])?;
    Ok(begun.elapsed().as_secs_f64())
}

/// A connection that is kept for one request after the other.
pub struct Kept(std::net::TcpStream);

impl Kept {
    pub fn new(address: SocketAddr) -> Result<Self> {
        let mut stream = connect(address)?;
        stream.write_all(b"e")?;
        Ok(Self(stream))
    }

    /// Seconds until a small request has been answered.
    pub fn ask(&mut self) -> Result<f64> {
        let begun = Instant::now();
        self.0.write_all(&[1; 64])?;
        self.0.read_exact(&mut [0; 64])?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Requests a second of so many kept connections.
pub fn requests(
    program: &Path,
    address: SocketAddr,
    connections: usize,
    span: Duration,
) -> Result<f64> {
    let ran = Command::new(program)
        .args(["http", &address.to_string(), &connections.to_string()])
        .arg(span.as_millis().to_string())
        .output()?;
    ensure!(ran.status.success(), "{ran:?}");
    Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
}
