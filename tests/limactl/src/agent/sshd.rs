//! The SSH port: each connection gets a new sshd in the guest's namespaces.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{log, namespace};

/// sshd options in the guest, written at each boot.
pub(crate) const CONFIG: &str = "/run/lima-sshd_config";

#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    pub(super) port: u16,
}

impl Listener {
    pub(super) fn bind() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// Serves connections, including queued ones.
    pub(super) fn serve(&self, init: u32, log: PathBuf) -> Result<()> {
        let listener = self.listener.try_clone()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = log.clone();
                std::thread::spawn(move || serve_connection(stream, init, &log));
            }
        });
        Ok(())
    }
}

fn serve_connection(stream: TcpStream, init: u32, log: &Path) {
    if let Err(error) = run_sshd(stream, init, log) {
        log::agent("error", &format!("ssh connection: {error:#}"));
    }
}

fn run_sshd(stream: TcpStream, init: u32, log: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    let log = std::fs::OpenOptions::new().append(true).open(log)?;
    let input = OwnedFd::from(stream);
    let output = input.try_clone()?;
    namespace::enter(init)
        .args(["/usr/sbin/sshd", "-i", "-e", "-f", CONFIG])
        .stdin(input)
        .stdout(output)
        .stderr(log)
        .spawn()?
        .wait()?;
    Ok(())
}
