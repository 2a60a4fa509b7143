//! Looking for what is the matter.

use jiff::SignedDuration;

use super::{Operations, firewall};
use crate::backend::{Backend, Finding, Instance, Level};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvStatus;

/// A running env has its address by then.
const ADDRESS: SignedDuration = SignedDuration::from_secs(60);

impl Operations {
    /// Mends what was interrupted, and looks at the engines, their storage and network, this machine's
    /// firewall, and our own state.
    ///
    /// # Errors
    /// `Io` where our own state can't be read; all else is a finding.
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        self.recover().await?;
        let (mut findings, mut silent) = (Vec::new(), Vec::new());
        let mut answering = 0;
        for backend in &self.backends {
            match backend.diagnose().await {
                Ok(found) => {
                    answering += 1;
                    findings.extend(found);
                    findings.extend(self.without_address(backend.as_ref()).await);
                }
                Err(error) => {
                    // One that isn't there is of interest only where none is.
                    let matters = backend.is_installed();
                    silent.push((matters, self.silent(backend.as_ref(), &error)?));
                }
            }
        }
        let told = silent
            .into_iter()
            .filter(|(matters, _)| *matters || answering == 0);
        findings.extend(told.map(|(_, finding)| finding));
        if answering == 0 {
            let message = "no engine answers";
            findings.push(
                Finding::new("engines", Level::Bad, message).with_hint(super::resolve::INSTALL),
            );
        }
        findings.extend(firewall::look(answering > 0).await);
        findings.push(self.own_state()?);
        Ok(findings)
    }

    /// An engine that doesn't answer.
    fn silent(&self, backend: &dyn Backend, error: &Error) -> Result<Finding> {
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

    /// Envs that run for long and got no address: DHCP doesn't reach them.
    async fn without_address(&self, backend: &dyn Backend) -> Vec<Finding> {
        // An engine that gives out no addresses is no finding.
        if !backend.capabilities().await.is_ok_and(|can| can.addresses) {
            return Vec::new();
        }
        let now = self.clock.now();
        let is_lost = |instance: &Instance| {
            let old = instance
                .started_at
                .is_some_and(|at| now.duration_since(at) > ADDRESS);
            let ours = instance.marks.env.is_some();
            ours && old && instance.status == EnvStatus::Running && instance.address.is_none()
        };
        let instances = backend.instances().await.unwrap_or_default().into_iter();
        instances
            .filter(is_lost)
            .map(|instance| {
                let message = format!("`{}` runs and has no address", instance.name);
                Finding::new(backend.kind().label(), Level::Warning, message).with_hint(
                    "see whether a firewall keeps DHCP (UDP ports 67 and 68) from the engine's bridge",
                )
            })
            .collect()
    }

    fn own_state(&self) -> Result<Finding> {
        let kept = self.undoable()?.len();
        let interrupted = self.interrupted()?;
        let home = self.home.root().display();
        if !interrupted.is_empty() {
            return Ok(Finding::new(
                "state",
                Level::Warning,
                interrupted.join("; "),
            ));
        }
        let kept = match kept {
            0 => "nothing is kept for undo".to_owned(),
            1 => "one operation can be undone".to_owned(),
            count => format!("{count} operations can be undone"),
        };
        Ok(Finding::new(
            "state",
            Level::Good,
            format!("{home}; {kept}"),
        ))
    }
}
