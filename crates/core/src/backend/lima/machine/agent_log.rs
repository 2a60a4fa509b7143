//! Log of a machine's host agent: `ha.stderr.log`, JSON lines, replaced at each start.
//!
//! Messages of Lima 2.1 and 2.2 (`pkg/portfwd`, `pkg/hostagent`, `pkg/driver/qemu`) and of qemu (`net/slirp.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::super::limactl::messages;
use super::super::log_tail;
use super::directory::Directory;

const FILE: &str = "ha.stderr.log";
/// Another process took the SSH port after Lima had found it free; the same for the DNS server's port (both strings).
const SSH_PORT_IN_USE: &str = "Could not set up host forwarding rule";
const DNS_PORT_IN_USE: [&str; 2] = ["cannot start DNS server", "address already in use"];
/// A running machine ended unexpectedly.
const DRIVER_STOPPED: &str = "Driver stopped due to error";
/// Prefix of qemu's own messages, which Lima logs at debug level.
const QEMU_PREFIX: &str = "qemu[stderr]: ";

/// Identifies a log file: each start writes a new one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogId(Option<(u64, u64, i64, i64)>);

impl LogId {
    /// The current log.
    pub(crate) fn of(machine: &Directory) -> Self {
        let found = fs::metadata(machine.file(FILE)).ok();
        Self(found.map(|log| (log.ino(), log.len(), log.mtime(), log.mtime_nsec())))
    }
}

/// Returns the end of the log if it has changed: Lima may fail before it starts a new one.
pub(crate) fn new_tail(machine: &Directory, before: &LogId) -> Option<String> {
    (LogId::of(machine) != *before).then(|| log_tail::tail(&machine.file(FILE)))?
}

/// Whether a start failed because the chosen port was in use. The next start chooses another one.
pub(crate) fn is_port_conflict(log: &str) -> bool {
    log.contains(SSH_PORT_IN_USE) || DNS_PORT_IN_USE.iter().all(|words| log.contains(words))
}

/// Why a start has failed: qemu's message, whose exit Lima doesn't report as an error, otherwise the last error.
pub(crate) fn reason(log: &str) -> Option<String> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let all = lines
        .iter()
        .rev()
        .filter_map(|line| messages::message(line));
    let mut qemu_messages =
        all.filter_map(|words| Some(words.strip_prefix(QEMU_PREFIX)?.trim().to_owned()));
    let qemu = qemu_messages.find(|words| !words.is_empty() && !words.contains("warning:"));
    // Without this, qemu has continued after its message.
    qemu.filter(|_| log.contains(DRIVER_STOPPED))
        .or_else(|| (!lines.is_empty()).then(|| messages::reason(&lines)))
}

/// Ports that Lima could not forward because they are in use; it doesn't retry.
pub(crate) fn conflicting_ports(machine: &Directory) -> BTreeSet<u16> {
    let log = log_tail::tail_of(&machine.file(FILE), log_tail::SEARCH_BYTES).unwrap_or_default();
    // On macOS both the listener and its caller log the failure.
    find_conflicts(&log, if cfg!(target_os = "macos") { 2 } else { 1 })
}

/// Finds ports without any successful forward. A service on several guest addresses (IPv4 and IPv6) is forwarded once
/// per address from the same host port, of which only one succeeds. A failure is logged `each` times.
fn find_conflicts(log: &str, each: usize) -> BTreeSet<u16> {
    let mut ports: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
    let port = |text: &str| text.rsplit(':').next()?.trim().parse::<u16>().ok();
    for words in log.lines().filter_map(messages::message) {
        if let Some(both) = words.strip_prefix("Forwarding TCP from ")
            && let Some((_, to)) = both.split_once(" to ")
            && let Some(port) = port(to)
        {
            ports.entry(port).or_default().0 += 1;
        }
        // Followed by the cause.
        if let Some(rest) = words.strip_prefix("failed to listen tcp: ")
            && let Some(port) = port(rest.split(": ").next().unwrap_or(rest))
        {
            ports.entry(port).or_default().1 += 1;
        }
        if let Some(rest) = words.strip_prefix("Port forwarding closed proto:tcp host:")
            && let Some(port) = port(rest.split(' ').next().unwrap_or(rest))
        {
            ports.remove(&port);
        }
    }
    let is_conflict =
        |(attempts, failed): (usize, usize)| attempts > 0 && failed >= attempts * each;
    let conflicts = ports.into_iter().filter(|(_, counts)| is_conflict(*counts));
    conflicts.map(|(port, _)| port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceName;

    #[test]
    fn conflicting_ports_have_no_successful_forward() {
        let forwarding = r#"{"level":"info","msg":"Forwarding TCP from 127.0.0.1:8000 to 127.0.0.1:8000","time":"t"}"#;
        let second = r#"{"level":"info","msg":"Forwarding TCP from [::1]:8000 to 127.0.0.1:8000","time":"t"}"#;
        let failed = r#"{"error":"listen tcp 127.0.0.1:8000: bind: address already in use","level":"warning","msg":"failed to listen tcp: 127.0.0.1:8000","time":"t"}"#;
        let closed = r#"{"level":"debug","msg":"Port forwarding closed proto:tcp host:127.0.0.1:8000 guest:127.0.0.1:8000"}"#;
        let conflicts = |lines: &[&str], each| find_conflicts(&lines.join("\n"), each);
        let port = BTreeSet::from([8000]);
        assert_eq!(conflicts(&[forwarding, failed], 1), port);
        assert_eq!(conflicts(&[forwarding, second, failed, failed], 1), port);
        assert_eq!(conflicts(&[forwarding, failed, failed], 2), port);
        let none = BTreeSet::new();
        assert_eq!(conflicts(&[forwarding, second, failed], 1), none);
        assert_eq!(conflicts(&[forwarding, second, failed, failed], 2), none);
        assert_eq!(conflicts(&[forwarding, failed, closed], 1), none);
        assert_eq!(
            conflicts(&[forwarding, failed, closed, forwarding], 1),
            none
        );
        assert_eq!(find_conflicts("nothing\n{\"level\":\"info\"}\n", 1), none);
    }

    #[test]
    fn reason_prefers_qemu_errors() {
        let log = "{\"level\":\"debug\",\"msg\":\"qemu[stderr]: Could not access KVM kernel module\"}\n\
            {\"level\":\"debug\",\"msg\":\"qemu[stderr]: \"}\n\
            {\"level\":\"info\",\"msg\":\"Driver stopped due to error: `exit status 1`\"}\n\
            {\"level\":\"info\",\"msg\":\"QEMU has already exited\"}\n";
        let words = reason(log).unwrap();
        assert_eq!(words, "Could not access KVM kernel module");
        let log = "{\"level\":\"debug\",\"msg\":\"qemu[stderr]: qemu: warning: host lacks it\"}\n\
            {\"level\":\"fatal\",\"msg\":\"degraded\"}\n";
        assert_eq!(reason(log).unwrap(), "degraded");
        assert_eq!(
            reason("{\"level\":\"fatal\",\"msg\":\"no\"}\n").unwrap(),
            "no"
        );
        assert_eq!(reason(""), None);
    }

    #[test]
    fn ignores_log_of_previous_start() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "web-dev".parse().unwrap();
        let machine = Directory::new(home.path(), &name);
        fs::create_dir(machine.path()).unwrap();
        let none = LogId::of(&machine);
        fs::write(machine.file(FILE), "one").unwrap();
        assert_eq!(new_tail(&machine, &none).as_deref(), Some("one"));
        let one = LogId::of(&machine);
        assert_eq!(new_tail(&machine, &one), None);
        fs::write(home.path().join("new"), "two").unwrap();
        fs::rename(home.path().join("new"), machine.file(FILE)).unwrap();
        assert_eq!(new_tail(&machine, &one).as_deref(), Some("two"));
    }
}
