//! Whether this machine drops forwarded packets of envs.
//!
//! Docker sets the FORWARD policy to DROP, which cuts off all other bridges. Only root can read the rules;
//! for other users the presence of Docker is a warning.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::backend::{Finding, Level};

const IPTABLES_TIMEOUT: Duration = Duration::from_secs(5);
const SUBJECT: &str = "firewall";
const DOCKER_HINT: &str = "allow forwarding: `sudo iptables -I DOCKER-USER -j ACCEPT` (until the next \
                           reboot), or `\"ip-forward-no-drop\": true` in /etc/docker/daemon.json";
const BRIDGE_HINT: &str = "allow the engine's bridge: `sudo iptables -I FORWARD -i BRIDGE -j ACCEPT`, \
                           and the same with `-o BRIDGE`";

/// Checks the FORWARD policy, and whether Docker is running.
pub(super) async fn diagnose(has_bridges: bool) -> Vec<Finding> {
    if !has_bridges {
        return Vec::new();
    }
    let docker = Path::new("/sys/class/net/docker0").exists();
    match forward_rules().await {
        Some(rules) => vec![check_rules(&rules, docker)],
        None if docker => {
            let message =
                "Docker is running and may block the network of envs: only root can check";
            vec![
                Finding::new(SUBJECT, Level::Warning, message)
                    .with_hint("check as root: `sudo lxc-dev-manager doctor`"),
            ]
        }
        None => Vec::new(),
    }
}

/// The FORWARD rules in the format of `iptables -S`; `None` if they cannot be read.
async fn forward_rules() -> Option<String> {
    let listing = Command::new("iptables")
        .args(["-w", "-S", "FORWARD"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(IPTABLES_TIMEOUT, listing)
        .await
        .ok()?
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && text.starts_with("-P FORWARD")).then_some(text)
}

fn check_rules(rules: &str, docker: bool) -> Finding {
    let drops = rules.lines().any(|line| line.trim() == "-P FORWARD DROP");
    let accepts = rules
        .lines()
        .any(|line| line.trim() == "-A FORWARD -j ACCEPT");
    if !drops || accepts {
        return Finding::new(SUBJECT, Level::Good, "packets of envs are forwarded");
    }
    let (cause, hint) = if docker {
        ("Docker", DOCKER_HINT)
    } else {
        ("a firewall", BRIDGE_HINT)
    };
    let message = format!("{cause} drops forwarded packets of envs");
    Finding::new(SUBJECT, Level::Warning, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warns_about_drop_policy_with_a_hint() {
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        let found = check_rules(docker, true);
        assert_eq!(found.level, Level::Warning);
        assert!(found.message.starts_with("Docker drops"), "{found:?}");
        assert!(found.hint.unwrap().contains("DOCKER-USER"));
        let plain = check_rules("-P FORWARD DROP\n", false);
        assert!(plain.hint.unwrap().contains("-i BRIDGE"));
    }

    #[test]
    fn accepts_forwarding_rules() {
        for rules in [
            "-P FORWARD ACCEPT\n",
            "-P FORWARD DROP\n-A FORWARD -j ACCEPT\n",
        ] {
            assert_eq!(check_rules(rules, true).level, Level::Good, "{rules}");
        }
    }
}
