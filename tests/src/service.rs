//! A TCP echo service that half-closes each direction separately.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use lxc_dev_manager_core::backend::{Backend, ExecSpec, GuestStream, capture};
use lxc_dev_manager_core::model::InstanceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Needs Perl in the guest.
const SERVICE: &str = include_str!("service.pl");

/// Starts the service on an address and port of a guest.
pub async fn start(
    backend: &dyn Backend,
    name: &InstanceName,
    address: &str,
    port: u16,
) -> Result<()> {
    let port = port.to_string();
    let spec = ExecSpec::new(["perl", "-e", SERVICE, address, &port]);
    let output = capture(backend, name, &spec, Vec::new()).await?;
    ensure!(output.code == 0, "no service: {output:?}");
    Ok(())
}

/// The service on the host, for the fake's guests.
pub fn start_here() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (count, counts) = mpsc::channel();
    let counts = Arc::new(Mutex::new(counts));
    // Runs until the process ends, like a service in a guest.
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (count, counts) = (count.clone(), counts.clone());
            std::thread::spawn(move || serve(client, &count, &counts));
        }
    });
    Ok(address)
}

fn serve(
    mut client: TcpStream,
    count: &mpsc::Sender<usize>,
    counts: &Mutex<mpsc::Receiver<usize>>,
) -> Result<()> {
    let mut first = [0];
    client.read_exact(&mut first)?;
    match first[0] {
        b'e' => {
            std::io::copy(&mut client.try_clone()?, &mut client)?;
            client.write_all(b"end")?;
        }
        b'b' => {
            client.write_all(b"bye")?;
            client.shutdown(Shutdown::Write)?;
            let mut all = Vec::new();
            client.read_to_end(&mut all)?;
            count.send(all.len())?;
        }
        _ => {
            let heard = counts.lock().unwrap().recv()?;
            client.write_all(format!("{heard}\n").as_bytes())?;
        }
    }
    Ok(())
}

/// Sends bytes, reads them back, and checks the half-close in both directions.
pub async fn echo(mut stream: GuestStream, bytes: &[u8]) -> Result<()> {
    stream.write_all(b"e").await?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let send = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await
    };
    let mut heard = Vec::new();
    let (sent, read) = tokio::join!(send, reader.read_to_end(&mut heard));
    sent?;
    read?;
    ensure!(heard.ends_with(b"end"), "the half-close was lost");
    ensure!(
        &heard[..heard.len() - 3] == bytes,
        "received different bytes"
    );
    Ok(())
}

/// The service closes its side first, then still receives. `again` is another connection.
pub async fn end_first(mut stream: GuestStream, mut again: GuestStream) -> Result<()> {
    stream.write_all(b"b").await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    ensure!(heard == b"bye", "{heard:?}");
    stream.write_all(&[7; 100_000]).await?;
    stream.shutdown().await?;
    again.write_all(b"?").await?;
    let mut count = String::new();
    again.read_to_string(&mut count).await?;
    ensure!(count == "100000\n", "{count:?} bytes received");
    Ok(())
}

/// Bytes without repetition.
#[must_use]
pub fn bytes(length: u32) -> Vec<u8> {
    (0..length)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}
