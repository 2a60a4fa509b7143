//! The port of SSH: each connection gets an sshd of its own, the guest's, in the guest's namespaces.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::{log, namespace};

/// In the guest, a file with sshd's options, made at each boot.
pub(crate) const CONFIG: &str = "/run/lima-sshd_config";

#[derive(Debug)]
pub(crate) struct Listener {
    listener: TcpListener,
    port: u16,
}

impl Listener {
    /// 0 is any free port.
    pub(crate) fn bind(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on connections are answered; earlier ones have waited in the queue.
    pub(crate) fn serve(&self, init: u32, log: PathBuf) {
        let listener = match self.listener.try_clone() {
            Ok(listener) => listener,
            Err(error) => {
                log::agent("error", format!("cannot serve ssh: {error}"));
                return;
            }
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let log = log.clone();
                std::thread::spawn(move || serve_one(stream, init, &log));
            }
        });
    }
}

fn serve_one(stream: TcpStream, init: u32, log: &Path) {
    if let Err(error) = connection(stream, init, log) {
        log::agent("error", format!("ssh connection: {error:#}"));
    }
}

fn connection(stream: TcpStream, init: u32, log: &Path) -> Result<()> {
    stream.set_nodelay(true)?;
    let log = std::fs::OpenOptions::new().append(true).open(log)?;
    let input = OwnedFd::from(stream);
    let output = input.try_clone()?;
    namespace::enter(init)
        .args(["/usr/sbin/sshd", "-i", "-e", "-f", CONFIG])
        .stdin(input)
        .stdout(Stdio::from(output))
        .stderr(log)
        .spawn()?
        .wait()?;
    Ok(())
}
