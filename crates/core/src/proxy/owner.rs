//! Who listens on a port of this machine. All of it may take a while: never in a task that others wait for.

use std::net::{IpAddr, SocketAddr};

use crate::model::HostPort;

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// A process that we may look at.
    Process {
        /// Its name, as the system has it.
        name: String,
        /// Its number.
        pid: i32,
    },
    /// Somebody whose processes we may not look at.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "lsof names nobody then")
    )]
    User(u32),
}

/// What listens on this machine, as it was at one moment.
#[derive(Debug, Default)]
pub struct Listening {
    #[cfg(target_os = "linux")]
    sockets: Vec<Socket>,
}

/// Whether a listener at one address keeps another one from an address of the same port. One that listens at all
/// addresses of IPv6 may take IPv4 as well: the system doesn't say.
fn is_in_the_way(listener: IpAddr, wanted: IpAddr) -> bool {
    let (listener, wanted) = (listener.to_canonical(), wanted.to_canonical());
    let one_family = listener.is_ipv4() == wanted.is_ipv4();
    match one_family {
        true => listener == wanted || listener.is_unspecified() || wanted.is_unspecified(),
        false => listener.is_ipv6() && listener.is_unspecified(),
    }
}

/// Of listeners on one port the one at this very address, else one that has it with others.
pub(super) fn nearest<T>(
    listeners: &[T],
    address: impl Fn(&T) -> IpAddr,
    wanted: IpAddr,
) -> Option<&T> {
    let exact = |one: &&T| address(one).to_canonical() == wanted;
    let in_the_way = |one: &&T| is_in_the_way(address(one), wanted);
    let mut all = listeners.iter();
    all.clone().find(exact).or_else(|| all.find(in_the_way))
}

#[cfg(target_os = "linux")]
mod linux {
    use procfs::ProcResult;
    use procfs::net::{TcpNetEntry, TcpState, tcp, tcp6};
    use procfs::process::{FDTarget, Process, all_processes};

    use super::{HostPort, IpAddr, Listening, Owner, SocketAddr, nearest};

    /// A socket that listens.
    #[derive(Debug)]
    pub(super) struct Socket {
        address: SocketAddr,
        inode: u64,
        uid: u32,
    }

    impl Listening {
        /// Looks. A system that tells nothing has nobody that listens.
        #[must_use]
        pub fn read() -> Self {
            let listening = |entries: ProcResult<Vec<TcpNetEntry>>| {
                let all = entries.unwrap_or_default().into_iter();
                all.filter(|entry| entry.state == TcpState::Listen)
            };
            let entries = listening(tcp()).chain(listening(tcp6()));
            let sockets = entries.map(|entry| Socket {
                address: entry.local_address,
                inode: entry.inode,
                uid: entry.uid,
            });
            Self {
                sockets: sockets.collect(),
            }
        }

        /// Whether nobody keeps us from listening there.
        pub(in super::super) fn lets(&self, address: IpAddr, port: HostPort) -> bool {
            self.at(address, port).is_none()
        }

        fn at(&self, address: IpAddr, port: HostPort) -> Option<&Socket> {
            let sockets = self.sockets.iter();
            let of_port: Vec<_> = sockets
                .filter(|one| one.address.port() == port.get())
                .collect();
            nearest(&of_port, |one| one.address.ip(), address).copied()
        }

        /// Who keeps us from listening there; `None` where nobody does, or where the system doesn't say.
        pub(in super::super) fn owner(&self, address: IpAddr, port: HostPort) -> Option<Owner> {
            let socket = self.at(address, port)?;
            let processes = all_processes().ok()?;
            let holder = processes
                .flatten()
                .find(|process| holds(process, socket.inode));
            Some(match holder.and_then(|process| process.stat().ok()) {
                Some(stat) => Owner::Process {
                    name: stat.comm,
                    pid: stat.pid,
                },
                None => Owner::User(socket.uid),
            })
        }
    }

    /// Whether a process has a socket open.
    fn holds(process: &Process, inode: u64) -> bool {
        let is_it =
            |target: &FDTarget| matches!(target, FDTarget::Socket(number) if *number == inode);
        // One that isn't ours shows nothing.
        process
            .fd()
            .is_ok_and(|open| open.flatten().any(|fd| is_it(&fd.target)))
    }
}

#[cfg(target_os = "linux")]
use linux::Socket;

#[cfg(not(target_os = "linux"))]
mod other {
    use std::net::TcpStream;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::super::lsof;
    use super::{HostPort, IpAddr, Listening, Owner, SocketAddr};

    /// Part of macOS; an app from Finder has no `/usr/sbin` in its PATH.
    const LSOF: &str = "/usr/sbin/lsof";
    /// How often it is looked whether lsof has ended.
    const LOOKS: usize = 30;
    /// How long somebody on this machine may take to accept, and the time between two looks.
    const TIMEOUT: Duration = Duration::from_millis(100);

    impl Listening {
        /// There is no place to look: each address is tried when it is asked for.
        #[must_use]
        pub fn read() -> Self {
            Self::default()
        }

        /// Whether nobody keeps us from listening there.
        pub(in super::super) fn lets(&self, address: IpAddr, port: HostPort) -> bool {
            let loopback: IpAddr = match address {
                IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            let there = match address.is_unspecified() {
                true => loopback,
                false => address,
            };
            let address = SocketAddr::new(there, port.get());
            TcpStream::connect_timeout(&address, TIMEOUT).is_err()
        }

        /// Who keeps us from listening there, as far as lsof may see it: the processes of one's own.
        pub(in super::super) fn owner(&self, address: IpAddr, port: HostPort) -> Option<Owner> {
            let mut command = Command::new(LSOF);
            command
                // Nothing that may wait for a server of files.
                .args(["-b", "-nPw", "-sTCP:LISTEN", "-Fpctn"])
                .arg(format!("-iTCP:{port}"));
            lsof::owner(&said(command)?, address)
        }
    }

    /// What a command prints, which is little, unless it takes too long.
    fn said(mut command: Command) -> Option<String> {
        let silent = || Stdio::null();
        command
            .stdin(silent())
            .stderr(silent())
            .stdout(Stdio::piped());
        let mut child = command.spawn().ok()?;
        for _ in 0..LOOKS {
            if child.try_wait().ok()?.is_some() {
                let output = child.wait_with_output().ok()?;
                return Some(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            std::thread::sleep(TIMEOUT);
        }
        child.kill().ok()?;
        child.wait().ok()?;
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_in_the_way_of_its_own_address_and_of_all_where_it_has_all() {
        let cases = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::1", false),
            ("::1", "127.0.0.1", false),
            ("127.0.0.2", "127.0.0.1", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("127.0.0.1", "0.0.0.0", true),
            ("::", "::1", true),
            ("::", "127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
        ];
        for (listener, wanted, expected) in cases {
            let found = is_in_the_way(listener.parse().unwrap(), wanted.parse().unwrap());
            assert_eq!(found, expected, "{listener} and {wanted}");
        }
    }

    #[test]
    fn who_listens_at_another_address_is_not_taken_for_the_owner() {
        let stranger = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
        let port = HostPort::new(stranger.local_addr().unwrap().port()).unwrap();
        let listening = Listening::read();
        let own = std::process::id();
        let owner = |address: &str| listening.owner(address.parse().unwrap(), port);
        assert_eq!(owner("127.0.0.1"), None);
        assert_eq!(owner("::1"), None);
        for address in ["127.0.0.2", "0.0.0.0"] {
            let found = owner(address);
            let is_it = matches!(found, Some(Owner::Process { pid, .. }) if pid as u32 == own);
            assert!(is_it, "{address}: {found:?}");
        }
    }
}
