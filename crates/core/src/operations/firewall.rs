//! Whether this machine drops what envs send through it.
//!
//! Docker sets the policy of forwarding to DROP when it starts, which cuts every other bridge off.
//! The rules are root's to read; without that right only the reason for doubt can be told.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::backend::{Finding, Level};

/// How long listing a few rules may take.
const TIMEOUT: Duration = Duration::from_secs(5);
const SUBJECT: &str = "firewall";
const FIX: &str = "let bridges through: `sudo iptables -I DOCKER-USER -j ACCEPT` (until the next \
                   reboot), or `\"ip-forward-no-drop\": true` in /etc/docker/daemon.json";

/// Looks at the policy of forwarding, and at what would have set it.
pub(super) async fn look(has_bridges: bool) -> Vec<Finding> {
    if !has_bridges {
        return Vec::new();
    }
    let docker = Path::new("/sys/class/net/docker0").exists();
    match rules().await {
        Some(rules) => vec![judge(&rules, docker)],
        None if docker => {
            let message = "Docker runs here and may keep envs from reaching the network; only root \
                           can see whether it does";
            vec![
                Finding::new(SUBJECT, Level::Warning, message)
                    .with_hint("look: `sudo lxc-dev-manager doctor`"),
            ]
        }
        None => Vec::new(),
    }
}

/// The rules of forwarding as `iptables` writes them for programs; `None` where they can't be read.
async fn rules() -> Option<String> {
    let listing = Command::new("iptables")
        .args(["-w", "-S", "FORWARD"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(TIMEOUT, listing).await.ok()?.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && text.starts_with("-P FORWARD")).then_some(text)
}

fn judge(rules: &str, docker: bool) -> Finding {
    let drops = rules.lines().any(|line| line.trim() == "-P FORWARD DROP");
    let let_through = rules
        .lines()
        .any(|line| line.trim() == "-A FORWARD -j ACCEPT");
    if !drops || let_through {
        return Finding::new(SUBJECT, Level::Good, "packets of envs are forwarded");
    }
    let who = if docker { "Docker" } else { "a firewall" };
    let message = format!("{who} drops what envs send to the network and what comes back");
    let hint = match docker {
        true => FIX,
        false => {
            "let the engine's bridge through: `sudo iptables -I FORWARD -i BRIDGE -j ACCEPT`, \
                  and the same with `-o BRIDGE`"
        }
    };
    Finding::new(SUBJECT, Level::Warning, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_drop_is_told_with_what_to_do() {
        let docker = "-P FORWARD DROP\n-A FORWARD -j DOCKER-USER\n";
        let found = judge(docker, true);
        assert_eq!(found.level, Level::Warning);
        assert!(found.message.starts_with("Docker drops"), "{found:?}");
        assert!(found.hint.unwrap().contains("DOCKER-USER"));
        let plain = judge("-P FORWARD DROP\n", false);
        assert!(plain.hint.unwrap().contains("-i BRIDGE"));
    }

    #[test]
    fn what_is_let_through_is_good() {
        for rules in [
            "-P FORWARD ACCEPT\n",
            "-P FORWARD DROP\n-A FORWARD -j ACCEPT\n",
        ] {
            assert_eq!(judge(rules, true).level, Level::Good, "{rules}");
        }
    }
}
