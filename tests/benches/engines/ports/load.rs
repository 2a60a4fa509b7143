//! Load on one route; `tests/traffic/src/serve.rs` describes the service.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::pairs::time;

const READ_TIMEOUT: Duration = Duration::from_secs(20);
const BUFFER_BYTES: usize = 1 << 20;

pub fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    Ok(stream)
}

/// Bytes per second of several streams.
pub fn rate(address: SocketAddr, streams: usize, span: Duration) -> Result<f64> {
    let started = Instant::now();
    let readers: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || read_stream(address, started, span)))
        .collect();
    let mut bytes = 0;
    for reader in readers {
        bytes += reader.join().ok().context("a client failed")??;
    }
    Ok(bytes as f64 / started.elapsed().as_secs_f64())
}

fn read_stream(address: SocketAddr, started: Instant, span: Duration) -> Result<u64> {
    let mut stream = connect(address)?;
    stream.write_all(b"s")?;
    let (mut buffer, mut bytes) = (vec![0; BUFFER_BYTES], 0);
    while started.elapsed() < span {
        match stream.read(&mut buffer)? {
            0 => bail!("it ended after {bytes} bytes"),
            length => bytes += length as u64,
        }
    }
    // It may have ended meanwhile.
    let _ = stream.shutdown(Shutdown::Both);
    Ok(bytes)
}

/// Until a new connection has carried a byte there and back.
pub fn first_byte(address: SocketAddr) -> Result<Duration> {
    time(|| {
        let mut stream = connect(address)?;
        stream.write_all(b"e1")?;
        Ok(stream.read_exact(&mut [0])?)
    })
}

/// Until a request of 64 bytes is answered on an open connection.
pub fn request(stream: &mut TcpStream) -> Result<Duration> {
    time(|| {
        stream.write_all(&[1; 64])?;
        Ok(stream.read_exact(&mut [0; 64])?)
    })
}

/// Requests per second of several open connections.
pub fn requests(
    program: &Path,
    address: SocketAddr,
    connections: usize,
    span: Duration,
) -> Result<f64> {
    let output = Command::new(program)
        .args(["http", &address.to_string(), &connections.to_string()])
        .arg(span.as_millis().to_string())
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
