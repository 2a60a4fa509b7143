//! Forwards for the rules of `portForwards`: a listener on the host, and `ssh -W` for each connection.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::instance::Instance;
use crate::log;
use crate::yaml::Rule;

/// The real agent gets events from the kernel.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const LISTENS: &str = "0A";

/// Forwards the port of each rule once a service listens on it.
pub(super) fn serve(init: u32, instance: &Instance, rules: &[Rule]) {
    for rule in rules.iter().copied().filter(|rule| rule.guest_port != 0) {
        let (config, host) = (instance.dir.join("ssh.config"), instance.hostname());
        std::thread::spawn(move || {
            while !is_listening(init, rule.guest_port) {
                std::thread::sleep(POLL_INTERVAL);
            }
            let [guest, address] = [rule.guest_port, rule.host_port]
                .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            log::agent("info", &format!("Forwarding TCP from {guest} to {address}"));
            let listener = match TcpListener::bind(address) {
                Ok(listener) => listener,
                // Lima does not retry.
                Err(error) => {
                    let message = format!("failed to listen tcp: {address}: {error}");
                    return log::agent("warning", &message);
                }
            };
            for stream in listener.incoming().map_while(Result::ok) {
                if let Err(error) = relay(stream, &config, &host, guest) {
                    log::agent("warning", &format!("forward of {guest}: {error:#}"));
                }
            }
        });
    }
}

fn relay(stream: TcpStream, config: &PathBuf, host: &str, guest: SocketAddr) -> Result<()> {
    let input = OwnedFd::from(stream);
    let output = input.try_clone()?;
    let mut child = Command::new("ssh")
        .arg("-F")
        .arg(config)
        .args(["-W", &guest.to_string(), host])
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()?;
    std::thread::spawn(move || child.wait());
    Ok(())
}

fn is_listening(init: u32, port: u16) -> bool {
    let local = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/{init}/net/{table}"));
        text.unwrap_or_default().lines().any(|line| {
            let columns: Vec<&str> = line.split_whitespace().take(4).collect();
            matches!(columns[..], [_, address, _, LISTENS] if address.ends_with(&local))
        })
    })
}
