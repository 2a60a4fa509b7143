//! Which process has a number: numbers are given out anew, after a crash or a reboot to strangers.
//!
//! Linux tells of processes in `/proc`. macOS has no such place that is read without unsafe code, so `ps`
//! is asked there, which takes some milliseconds.

use jiff::Timestamp;
use rustix::process::Pid;

/// A process that lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// What no other process of this number ever has: when it began, by the system's own clock.
    pub(crate) identity: String,
    /// When it began.
    pub(crate) started_at: Timestamp,
    /// Its program and arguments, in a line; empty where they aren't shown to us.
    pub(crate) command: String,
}

/// The process of a number; `None` where none lives. One that has ended and that nobody has looked after yet
/// lives no more.
#[cfg(target_os = "linux")]
pub(crate) fn look(pid: Pid) -> Option<Process> {
    use jiff::SignedDuration;
    use procfs::Current;
    let process = procfs::process::Process::new(pid.as_raw_nonzero().get()).ok()?;
    let stat = process.stat().ok()?;
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    let begun = stat.starttime as f64 / procfs::ticks_per_second() as f64;
    let age = procfs::Uptime::current().ok()?.uptime - begun;
    let boot = procfs::sys::kernel::random::boot_id().ok()?;
    let command = process.cmdline().unwrap_or_default().join(" ");
    Some(Process {
        identity: format!("{boot} {}", stat.starttime),
        started_at: Timestamp::now()
            .checked_sub(SignedDuration::try_from_secs_f64(age).ok()?)
            .ok()?,
        command: match command.is_empty() {
            true => stat.comm,
            false => command,
        },
    })
}

/// The process of a number; `None` where none lives.
#[cfg(not(target_os = "linux"))]
pub(crate) fn look(pid: Pid) -> Option<Process> {
    let pid = pid.as_raw_nonzero().to_string();
    let output = std::process::Command::new("/bin/ps")
        .args(ARGUMENTS)
        .arg(pid)
        // Else the time would be another one in another country.
        .env_clear()
        .envs([("LC_ALL", "C"), ("TZ", "UTC")])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// State, begin and command, without a head and as wide as they are.
#[cfg(not(target_os = "linux"))]
const ARGUMENTS: [&str; 4] = ["-ww", "-o", "state=,lstart=,command=", "-p"];

/// `Ss   Wed Nov 25 10:20:54 2026     /usr/bin/program with arguments`
#[cfg(any(not(target_os = "linux"), test))]
fn parse(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    if words.next()?.starts_with('Z') {
        return None;
    }
    let begun: Vec<&str> = words.by_ref().take(5).collect();
    let identity = begun.join(" ");
    let time = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", &identity).ok()?;
    Some(Process {
        started_at: jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?,
        identity,
        command: words.collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    #[test]
    fn this_process_is_known_and_stays_the_same() {
        let me = look(getpid()).unwrap();
        assert_eq!(look(getpid()).unwrap().identity, me.identity);
        assert!(me.started_at <= Timestamp::now());
        let program = std::env::current_exe().unwrap();
        let name = program.file_name().unwrap().to_string_lossy();
        assert!(me.command.contains(name.as_ref()), "{me:?}");
    }

    #[test]
    fn one_that_has_ended_is_nobody() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).unwrap();
        assert_eq!(look(pid), None, "nobody has looked after it yet");
        child.wait().unwrap();
        assert_eq!(look(pid), None);
    }

    #[test]
    fn what_ps_says_is_read() {
        let line =
            "Ss   Thu Nov  5 10:20:54 2026     limactl hostagent --pidfile /a b/ha.pid dev\n";
        let process = parse(line).unwrap();
        assert_eq!(process.started_at.to_string(), "2026-11-05T10:20:54Z");
        assert_eq!(process.identity, "Thu Nov 5 10:20:54 2026");
        assert!(process.command.starts_with("limactl hostagent"));
        assert_eq!(parse("Z    Thu Nov  5 10:20:54 2026     (limactl)\n"), None);
        assert_eq!(parse(""), None);
    }
}
