//! What a machine's host agent says: `ha.stderr.log`, lines of JSON that Lima begins anew at each start.
//!
//! The words are those of Lima 2.1 and 2.2 (`pkg/portfwd`, `pkg/hostagent`, `pkg/driver/qemu`) and of qemu (`net/slirp.c`).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::directory::Directory;
use super::{files, words};

const FILE: &str = "ha.stderr.log";
/// Where somebody has taken the port of SSH after Lima had found it free.
const PORT_LOST: &str = "Could not set up host forwarding rule";
/// How what qemu says begins; Lima takes it for details.
const QEMU: &str = "qemu[stderr]: ";

/// Which log there is: another one is another start's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Which(Option<(u64, i64, i64)>);

impl Which {
    /// The one that is there now.
    pub(super) fn of(machine: &Directory) -> Self {
        let found = fs::metadata(machine.file(FILE)).ok();
        Self(found.map(|log| (log.ino(), log.mtime(), log.mtime_nsec())))
    }
}

/// What was written since there was another log: Lima may fail before it begins a new one.
pub(super) fn after(machine: &Directory, before: &Which) -> Option<String> {
    (Which::of(machine) != *before).then(|| files::tail(&machine.file(FILE)))?
}

/// Whether a start failed because Lima had chosen a port that somebody else then took. The next one chooses another.
pub(super) fn is_lost_port(log: &str) -> bool {
    log.contains(PORT_LOST)
}

/// What says best why a start has failed: qemu, whose end Lima doesn't hold for a failure, else the last error.
pub(super) fn reason(log: &str) -> Option<String> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let said = |line: &String| words::words(line);
    let qemu = lines.iter().rev().filter_map(said).find_map(|words| {
        let words = words.strip_prefix(QEMU)?.trim().to_owned();
        (!words.is_empty()).then_some(words)
    });
    qemu.or_else(|| (!lines.is_empty()).then(|| words::reason(&lines)))
}

/// Ports of this machine that Lima was to forward and that somebody else has: it says so, and doesn't try again.
pub(super) fn taken_ports(machine: &Directory) -> BTreeSet<u16> {
    taken(&files::tail_of(&machine.file(FILE), files::MUCH).unwrap_or_default())
}

fn taken(log: &str) -> BTreeSet<u16> {
    let mut taken = BTreeSet::new();
    for words in log.lines().filter_map(words::words) {
        let port = |text: &str| text.rsplit(':').next()?.trim().parse::<u16>().ok();
        // Said before each try.
        if let Some((_, to)) = words
            .strip_prefix("Forwarding TCP from ")
            .and_then(|both| both.split_once(" to "))
        {
            port(to).map(|port| taken.remove(&port));
        } else if let Some(rest) = words.strip_prefix("failed to listen tcp: ") {
            // The cause follows.
            let address = rest.split(": ").next().unwrap_or(rest);
            taken.extend(port(address));
        } else if let Some(rest) = words.strip_prefix("failed to set up forwarding tcp port ") {
            // Lima's older way, by ssh.
            taken.extend(
                rest.split(' ')
                    .next()
                    .and_then(|port| port.parse::<u16>().ok()),
            );
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::InstanceName;

    #[test]
    fn ports_that_somebody_has_are_known_until_lima_has_them() {
        let forwarding = r#"{"level":"info","msg":"Forwarding TCP from 127.0.0.1:8000 to 127.0.0.1:8000","time":"t"}"#;
        let failed = r#"{"error":"listen tcp 127.0.0.1:8000: bind: address already in use","level":"warning","msg":"failed to listen tcp: 127.0.0.1:8000","time":"t"}"#;
        let older = r#"{"error":"exit status 255","level":"warning","msg":"failed to set up forwarding tcp port 9000 (negligible if already forwarded)"}"#;
        let log = [forwarding, failed, older].join("\n");
        assert_eq!(taken(&log), BTreeSet::from([8000, 9000]));
        let log = [&log, forwarding].map(|part| part.to_owned()).join("\n");
        assert_eq!(taken(&log), BTreeSet::from([9000]));
        assert_eq!(taken("nothing\n{\"level\":\"info\"}\n"), BTreeSet::new());
    }

    #[test]
    fn qemu_says_best_why_there_is_no_machine() {
        let log = "{\"level\":\"debug\",\"msg\":\"qemu[stderr]: Could not access KVM kernel module\"}\n\
            {\"level\":\"debug\",\"msg\":\"qemu[stderr]: \"}\n\
            {\"level\":\"info\",\"msg\":\"Driver stopped due to error: `exit status 1`\"}\n\
            {\"level\":\"info\",\"msg\":\"QEMU has already exited\"}\n";
        let words = reason(log).unwrap();
        assert_eq!(words, "Could not access KVM kernel module");
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
