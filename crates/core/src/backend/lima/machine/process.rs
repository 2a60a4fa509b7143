//! Processes by pid, with an identity that detects reuse of the pid.
//!
//! Linux provides `/proc`. macOS has no equivalent without unsafe code, so `ps` is called, which takes milliseconds.

use jiff::Timestamp;
use rustix::process::Pid;

/// A live process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Start time by the system's clock: differs between processes with the same pid.
    pub(crate) identity: String,
    pub(crate) started_at: Timestamp,
    /// Program and arguments; empty if not visible to this user.
    pub(crate) command: String,
}

/// Finds a live process; zombies count as ended.
#[cfg(target_os = "linux")]
pub(crate) fn find(pid: Pid) -> Option<Process> {
    use jiff::SignedDuration;
    use procfs::Current;
    let process = procfs::process::Process::new(pid.as_raw_nonzero().get()).ok()?;
    let stat = process.stat().ok()?;
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    let started = stat.starttime as f64 / procfs::ticks_per_second() as f64;
    let age = procfs::Uptime::current().ok()?.uptime - started;
    let boot = procfs::sys::kernel::random::boot_id().ok()?;
    let command = process.cmdline().unwrap_or_default().join(" ");
    Some(Process {
        identity: format!("{boot} {}", stat.starttime),
        started_at: Timestamp::now()
            .checked_sub(SignedDuration::try_from_secs_f64(age).ok()?)
            .ok()?,
        command: if command.is_empty() {
            stat.comm
        } else {
            command
        },
    })
}

/// Finds a live process; zombies count as ended.
#[cfg(not(target_os = "linux"))]
pub(crate) fn find(pid: Pid) -> Option<Process> {
    let pid = pid.as_raw_nonzero().to_string();
    let output = std::process::Command::new("/bin/ps")
        .args(ARGUMENTS)
        .arg(pid)
        // Locale and time zone change the output.
        .env_clear()
        .envs([("LC_ALL", "C"), ("TZ", "UTC")])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// State, start time and command; no header, unlimited width.
#[cfg(not(target_os = "linux"))]
const ARGUMENTS: [&str; 4] = ["-ww", "-o", "state=,lstart=,command=", "-p"];

/// `Ss   Wed Nov 25 10:20:54 2026     /usr/bin/program with arguments`
#[cfg(any(not(target_os = "linux"), test))]
fn parse(line: &str) -> Option<Process> {
    let mut words = line.split_whitespace();
    if words.next()?.starts_with('Z') {
        return None;
    }
    let started: Vec<&str> = words.by_ref().take(5).collect();
    let identity = started.join(" ");
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
    fn finds_own_process_with_stable_identity() {
        let me = find(getpid()).unwrap();
        assert_eq!(find(getpid()).unwrap().identity, me.identity);
        assert!(me.started_at <= Timestamp::now());
        let program = std::env::current_exe().unwrap();
        let name = program.file_name().unwrap().to_string_lossy();
        assert!(me.command.contains(name.as_ref()), "{me:?}");
    }

    #[test]
    fn ended_process_is_not_found() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
        let ended = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), ended).unwrap();
        assert_eq!(find(pid), None, "a zombie");
        child.wait().unwrap();
        assert_eq!(find(pid), None);
    }

    #[test]
    fn parses_ps_output() {
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
