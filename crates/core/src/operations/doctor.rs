//! Diagnosing problems.

use jiff::SignedDuration;

use super::{Operations, firewall};
use crate::backend::{Backend, Finding, Instance, Level};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvStatus;

const ADDRESS_TIMEOUT: SignedDuration = SignedDuration::from_secs(60);

impl Operations {
    /// Recovers interrupted operations, then checks engines, storage, network, firewall and own state.
    ///
    /// # Errors
    /// `Io` if this program's own state cannot be read; other problems are findings.
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        self.recover().await?;
        let (mut findings, mut unreachable) = (Vec::new(), Vec::new());
        let mut reachable = 0;
        for backend in &self.backends {
            match backend.diagnose().await {
                Ok(found) => {
                    reachable += 1;
                    findings.extend(found);
                    findings.extend(self.envs_without_address(backend.as_ref()).await);
                }
                Err(error) => {
                    let finding = self.unreachable_finding(backend.as_ref(), &error)?;
                    unreachable.push((backend.is_installed(), finding));
                }
            }
        }
        // Engines that are not installed are only shown if none is reachable.
        let shown = unreachable
            .into_iter()
            .filter(|(is_installed, _)| *is_installed || reachable == 0);
        findings.extend(shown.map(|(_, finding)| finding));
        if reachable == 0 {
            let message = "no engine is reachable";
            findings.push(
                Finding::new("engines", Level::Bad, message).with_hint(super::resolve::INSTALL),
            );
        }
        findings.extend(firewall::diagnose(reachable > 0).await);
        findings.push(self.check_state()?);
        Ok(findings)
    }

    fn unreachable_finding(&self, backend: &dyn Backend, error: &Error) -> Result<Finding> {
        let level = match error.kind() {
            _ if self.may_hold_envs(backend)? => Level::Bad,
            ErrorKind::PermissionDenied => Level::Bad,
            _ => Level::Warning,
        };
        let report = error.report();
        let finding = Finding::new(backend.kind().label(), level, report.message);
        Ok(match report.hint {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        })
    }

    /// Running envs that have got no address from DHCP.
    async fn envs_without_address(&self, backend: &dyn Backend) -> Vec<Finding> {
        if !backend.capabilities().await.is_ok_and(|can| can.addresses) {
            return Vec::new();
        }
        let now = self.clock.now();
        let lacks_address = |instance: &Instance| {
            let old = instance
                .started_at
                .is_some_and(|at| now.duration_since(at) > ADDRESS_TIMEOUT);
            let is_env = instance.marks.env.is_some();
            is_env && old && instance.status == EnvStatus::Running && instance.address.is_none()
        };
        let instances = backend.instances().await.unwrap_or_default().into_iter();
        instances
            .filter(lacks_address)
            .map(|instance| {
                let message = format!("`{}` is running without an address", instance.name);
                Finding::new(backend.kind().label(), Level::Warning, message).with_hint(
                    "check whether a firewall blocks DHCP (UDP ports 67 and 68) on the engine's bridge",
                )
            })
            .collect()
    }

    fn check_state(&self) -> Result<Finding> {
        let undoable = self.undoable()?.len();
        let interrupted = self.interrupted()?;
        let home = self.home.root().display();
        if !interrupted.is_empty() {
            return Ok(Finding::new(
                "state",
                Level::Warning,
                interrupted.join("; "),
            ));
        }
        let undoable = match undoable {
            0 => "no operation can be undone".to_owned(),
            1 => "one operation can be undone".to_owned(),
            count => format!("{count} operations can be undone"),
        };
        Ok(Finding::new(
            "state",
            Level::Good,
            format!("{home}; {undoable}"),
        ))
    }
}
