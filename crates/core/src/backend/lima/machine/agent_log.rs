//! What a machine's host agent says: `ha.stderr.log`, lines of JSON that Lima begins anew at each start.
//!
//! The words are those of Lima 2.1 and 2.2 (`pkg/portfwd`, `pkg/hostagent`, `pkg/driver/qemu`) and of qemu (`net/slirp.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::backend::lima::guest::files;
use crate::backend::lima::limactl::messages;
use crate::backend::lima::machine::directory::Directory;

const FILE: &str = "ha.stderr.log";
/// Where somebody has taken the port of SSH after Lima had found it free, and the same of its DNS server, in both words.
const PORT_LOST: &str = "Could not set up host forwarding rule";
const DNS_PORT_LOST: [&str; 2] = ["cannot start DNS server", "address already in use"];
/// What it says where a machine ends that should run.
const STOPPED: &str = "Driver stopped due to error";
/// How what qemu says begins; Lima takes it for details.
const QEMU: &str = "qemu[stderr]: ";

/// Which log there is: another one is another start's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Which(Option<(u64, u64, i64, i64)>);

impl Which {
    /// The one that is there now.
    pub(crate) fn of(machine: &Directory) -> Self {
        let found = fs::metadata(machine.file(FILE)).ok();
        Self(found.map(|log| (log.ino(), log.len(), log.mtime(), log.mtime_nsec())))
    }
}

/// What was written since there was another log: Lima may fail before it begins a new one.
pub(crate) fn after(machine: &Directory, before: &Which) -> Option<String> {
    (Which::of(machine) != *before).then(|| files::tail(&machine.file(FILE)))?
}

/// Whether a start failed because Lima had chosen a port that somebody else then took. The next one chooses another.
pub(crate) fn is_lost_port(log: &str) -> bool {
    log.contains(PORT_LOST) || DNS_PORT_LOST.iter().all(|words| log.contains(words))
}

/// What says best why a start has failed: qemu, whose end Lima doesn't hold for a failure, else the last error.
pub(crate) fn reason(log: &str) -> Option<String> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let all = lines.iter().rev().filter_map(|line| messages::words(line));
    let mut of_qemu = all.filter_map(|words| Some(words.strip_prefix(QEMU)?.trim().to_owned()));
    let qemu = of_qemu.find(|words| !words.is_empty() && !words.contains("warning:"));
    // It may have said something and gone on.
    qemu.filter(|_| log.contains(STOPPED))
        .or_else(|| (!lines.is_empty()).then(|| messages::reason(&lines)))
}

/// Ports of this machine that Lima was to forward and that somebody else has: it says so, and doesn't try again.
pub(crate) fn taken_ports(machine: &Directory) -> BTreeSet<u16> {
    let log = files::tail_of(&machine.file(FILE), files::MUCH).unwrap_or_default();
    // On macOS both who listens and who called for it say that it failed.
    taken(&log, if cfg!(target_os = "macos") { 2 } else { 1 })
}

/// A service on several addresses of a guest (IPv4 and IPv6) is forwarded for each from the same port, of which Lima gets one
/// only. So somebody else has a port of which it got none. A failure is told `each` times.
fn taken(log: &str, each: usize) -> BTreeSet<u16> {
    let mut ports: BTreeMap<u16, (usize, usize)> = BTreeMap::new();
    let port = |text: &str| text.rsplit(':').next()?.trim().parse::<u16>().ok();
    for words in log.lines().filter_map(messages::words) {
        if let Some(both) = words.strip_prefix("Forwarding TCP from ")
            && let Some((_, to)) = both.split_once(" to ")
            && let Some(port) = port(to)
        {
            ports.entry(port).or_default().0 += 1;
        }
        // The cause follows.
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
    let is_taken = |(tried, failed): (usize, usize)| tried > 0 && failed >= tried * each;
    let taken = ports.into_iter().filter(|(_, counts)| is_taken(*counts));
    taken.map(|(port, _)| port).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceName;

    #[test]
    fn ports_that_somebody_has_are_those_of_which_lima_gets_none() {
        let forwarding = r#"{"level":"info","msg":"Forwarding TCP from 127.0.0.1:8000 to 127.0.0.1:8000","time":"t"}"#;
        let second = r#"{"level":"info","msg":"Forwarding TCP from [::1]:8000 to 127.0.0.1:8000","time":"t"}"#;
        let failed = r#"{"error":"listen tcp 127.0.0.1:8000: bind: address already in use","level":"warning","msg":"failed to listen tcp: 127.0.0.1:8000","time":"t"}"#;
        let closed = r#"{"level":"debug","msg":"Port forwarding closed proto:tcp host:127.0.0.1:8000 guest:127.0.0.1:8000"}"#;
        let taken_of = |lines: &[&str], each| taken(&lines.join("\n"), each);
        let port = BTreeSet::from([8000]);
        assert_eq!(taken_of(&[forwarding, failed], 1), port);
        assert_eq!(taken_of(&[forwarding, second, failed, failed], 1), port);
        assert_eq!(taken_of(&[forwarding, failed, failed], 2), port);
        let none = BTreeSet::new();
        assert_eq!(taken_of(&[forwarding, second, failed], 1), none);
        assert_eq!(taken_of(&[forwarding, second, failed, failed], 2), none);
        assert_eq!(taken_of(&[forwarding, failed, closed], 1), none);
        assert_eq!(taken_of(&[forwarding, failed, closed, forwarding], 1), none);
        assert_eq!(taken("nothing\n{\"level\":\"info\"}\n", 1), none);
    }

    #[test]
    fn qemu_says_best_why_there_is_no_machine() {
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
    fn the_log_of_another_start_says_nothing_of_this_one() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "web-dev".parse().unwrap();
        let machine = Directory::new(home.path(), &name);
        fs::create_dir(machine.path()).unwrap();
        let none = Which::of(&machine);
        fs::write(machine.file(FILE), "one").unwrap();
        assert_eq!(after(&machine, &none).as_deref(), Some("one"));
        let one = Which::of(&machine);
        assert_eq!(after(&machine, &one), None);
        fs::write(home.path().join("new"), "two").unwrap();
        fs::rename(home.path().join("new"), machine.file(FILE)).unwrap();
        assert_eq!(after(&machine, &one).as_deref(), Some("two"));
    }
}
