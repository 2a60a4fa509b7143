//! Forwards of Lima's own: a listener of the host, and an `ssh -W` for each of its connections.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::log;

#[derive(Debug)]
pub(crate) struct Forwards {
    config: PathBuf,
    host: String,
    open: Mutex<BTreeMap<SocketAddr, Arc<AtomicBool>>>,
}

impl Forwards {
    pub(crate) fn new(config: PathBuf, host: String) -> Self {
        Self {
            config,
            host,
            open: Mutex::default(),
        }
    }

    pub(crate) fn open(&self, address: SocketAddr, guest: SocketAddr) -> Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.contains_key(&address) {
            return Ok(());
        }
        let listener = TcpListener::bind(address)?;
        let closed = Arc::new(AtomicBool::new(false));
        open.insert(address, closed.clone());
        let (config, host) = (self.config.clone(), self.host.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                if let Err(error) = relay(stream, &config, &host, guest) {
                    log::agent("warning", format!("forward of {guest}: {error:#}"));
                }
            }
        });
        Ok(())
    }

    pub(crate) fn close(&self, address: SocketAddr) {
        let closed = self
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&address);
        if let Some(closed) = closed {
            closed.store(true, Ordering::SeqCst);
            // Wakes the thread that waits for a connection.
            let _ = TcpStream::connect(address);
        }
    }
}

fn relay(stream: TcpStream, config: &Path, host: &str, guest: SocketAddr) -> Result<()> {
    let target = match guest {
        guest if guest.ip().is_unspecified() => format!("127.0.0.1:{}", guest.port()),
        guest => guest.to_string(),
    };
    let input = OwnedFd::from(stream);
    let output = input.try_clone()?;
    let mut child = Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["-W", &target, host])
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}
