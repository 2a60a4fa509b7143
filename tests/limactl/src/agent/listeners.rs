//! What listens in the guest, and what becomes of it: an event each, and a forward where a rule asks for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::events::Events;
use super::ports::Forwards;
use crate::inspect::Instance;
use crate::log;
use crate::yaml::{Rule, Yaml};

/// The real agent hears of them from the kernel; this one looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
const SSH: u16 = 22;
const LISTENS: &str = "0A";

pub(crate) fn watch(
    init: u32,
    instance: &Instance,
    yaml: &Yaml,
    ssh_port: u16,
    events: &Arc<Events>,
) {
    let mut rules = vec![Rule::block(SSH), Rule::block(ssh_port)];
    rules.extend(yaml.rules.iter().cloned());
    rules.push(Rule::default());
    let mut watcher = Watcher {
        silent: is_switched_off(&yaml.rules),
        rules,
        forwards: Forwards::new(instance.dir.join("ssh.config"), instance.hostname()),
        events: events.clone(),
        known: BTreeSet::new(),
    };
    // The guest's sshd is behind no port here; in a virtual machine it is.
    watcher.added(SocketAddr::from((Ipv4Addr::UNSPECIFIED, SSH)));
    watcher.added(SocketAddr::from((Ipv6Addr::UNSPECIFIED, SSH)));
    let paths = ["tcp", "tcp6"].map(|name| PathBuf::from(format!("/proc/{init}/net/{name}")));
    std::thread::spawn(move || {
        while paths[0].exists() {
            let texts = paths
                .iter()
                .filter_map(|path| std::fs::read_to_string(path).ok());
            let now = texts.flat_map(|text| listening(&text)).collect();
            watcher.update(now);
            std::thread::sleep(POLL_INTERVAL);
        }
    });
}

/// The first rules that ignore every port switch off even the events.
fn is_switched_off(rules: &[Rule]) -> bool {
    rules
        .iter()
        .take_while(|rule| rule.ignore && rule.guest_ports() == [1, 65535])
        .any(Rule::is_tcp)
}

struct Watcher {
    rules: Vec<Rule>,
    silent: bool,
    forwards: Forwards,
    events: Arc<Events>,
    known: BTreeSet<SocketAddr>,
}

impl Watcher {
    fn update(&mut self, now: BTreeSet<SocketAddr>) {
        for &guest in now.difference(&self.known) {
            self.added(guest);
        }
        for &guest in self.known.difference(&now) {
            self.removed(guest);
        }
        self.known = now;
    }

    fn added(&self, guest: SocketAddr) {
        match self.host_address(guest) {
            None if self.silent => {}
            None => {
                log::agent("info", format!("Not forwarding TCP {guest}"));
                self.tell("not-forwarding", guest, None);
            }
            Some(host) => {
                log::agent("info", format!("Forwarding TCP from {guest} to {host}"));
                self.tell("forwarding", guest, Some(host));
                // A port that is taken is a line in the log, and never tried again.
                if let Err(error) = self.forwards.open(host, guest) {
                    log::agent_error(&format!("failed to listen tcp: {host}"), &error);
                }
            }
        }
    }

    /// Only of what was forwarded.
    fn removed(&self, guest: SocketAddr) {
        if let Some(host) = self.host_address(guest) {
            log::agent(
                "info",
                format!("Stopping forwarding TCP from {guest} to {host}"),
            );
            self.tell("stopping", guest, Some(host));
            self.forwards.close(host);
        }
    }

    fn tell(&self, kind: &str, guest: SocketAddr, host: Option<SocketAddr>) {
        let mut event = json!({"type": kind, "protocol": "tcp", "guestAddr": guest.to_string()});
        if let Some(host) = host {
            event["hostAddr"] = json!(host.to_string());
        }
        self.events.add("portForward", event);
    }

    /// By the first rule that matches.
    fn host_address(&self, guest: SocketAddr) -> Option<SocketAddr> {
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.is_tcp() && rule.guest_socket.is_none())
        {
            let [first, last] = rule.guest_ports();
            if !(first..=last).contains(&guest.port()) || !address_matches(rule, guest.ip()) {
                continue;
            }
            if rule.ignore {
                if guest.ip().is_unspecified() && !rule.guest_ip().is_unspecified() {
                    continue;
                }
                return None;
            }
            let port = u32::from(guest.port() - first) + u32::from(rule.host_ports()[0]);
            return u16::try_from(port)
                .ok()
                .map(|port| SocketAddr::new(rule.host_ip(), port));
        }
        None
    }
}

fn address_matches(rule: &Rule, guest: IpAddr) -> bool {
    guest.is_unspecified()
        || guest == rule.guest_ip()
        || (guest == IpAddr::from(Ipv6Addr::LOCALHOST)
            && rule.guest_ip() == IpAddr::from(Ipv4Addr::LOCALHOST))
        || (rule.guest_ip().is_unspecified() && !rule.must_be_zero())
}

/// The addresses of a `/proc/net/tcp` or `tcp6` that listen.
fn listening(text: &str) -> BTreeSet<SocketAddr> {
    let line = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        let (address, port) = local.split_once(':')?;
        (state == LISTENS).then_some(())?;
        Some(SocketAddr::new(
            ip(address)?,
            u16::from_str_radix(port, 16).ok()?,
        ))
    };
    text.lines().skip(1).filter_map(line).collect()
}

/// Words of four bytes, each in the machine's order.
fn ip(hex: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..hex.len()).step_by(8) {
        let word = u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    match bytes.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n   \
             1: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0\n";
        let found: Vec<_> = listening(text).into_iter().collect();
        assert_eq!(found, ["127.0.0.1:8080".parse().unwrap()]);
        assert_eq!(
            ip("00000000000000000000000001000000"),
            Some("::1".parse().unwrap())
        );
    }

    fn watcher(yaml: &str) -> Watcher {
        let yaml = Yaml::parse(yaml, "test").unwrap();
        let mut rules = vec![Rule::block(SSH)];
        rules.extend(yaml.rules.iter().cloned());
        rules.push(Rule::default());
        Watcher {
            silent: is_switched_off(&yaml.rules),
            rules,
            forwards: Forwards::new(PathBuf::new(), String::new()),
            events: Arc::default(),
            known: BTreeSet::new(),
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let host = |yaml: &str, guest: &str| {
            watcher(yaml)
                .host_address(guest.parse().unwrap())
                .map(|host| host.to_string())
        };
        assert_eq!(
            host("{}", "127.0.0.1:8080").as_deref(),
            Some("127.0.0.1:8080")
        );
        assert_eq!(host("{}", "[::1]:8080").as_deref(), Some("127.0.0.1:8080"));
        assert_eq!(host("{}", "0.0.0.0:22"), None);
        assert_eq!(host("{}", "10.0.0.1:8080"), None);
        let moved = "portForwards:\n- {guestPort: 80, hostPort: 8080}\n";
        assert_eq!(host(moved, "0.0.0.0:80").as_deref(), Some("127.0.0.1:8080"));
        let off = "portForwards:\n- {guestIP: 0.0.0.0, guestIPMustBeZero: false, proto: any, ignore: true}\n";
        assert_eq!(host(off, "127.0.0.1:80"), None);
        assert!(watcher(off).silent);
    }

    #[test]
    fn a_rule_that_is_split_still_tells() {
        let split = "portForwards:\n\
             - {guestIP: 0.0.0.0, guestIPMustBeZero: false, guestPortRange: [1, 1023], ignore: true}\n\
             - {guestIP: 0.0.0.0, guestIPMustBeZero: false, guestPortRange: [1024, 65535], ignore: true}\n";
        let watcher = watcher(split);
        assert!(!watcher.silent);
        assert_eq!(
            watcher.host_address("127.0.0.1:8080".parse().unwrap()),
            None
        );
    }
}
