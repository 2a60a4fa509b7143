//! Diagnosis: Lima itself, disk space, machines, and the network of vz machines.

use super::backend::Lima;
use super::copy;
use super::machine::directory::{self, Directory};
use super::machine::record::Record;
use super::machine::{agent_log, settings};
use crate::backend::Instances;
use crate::backend::{Backend, Finding, Leftover, Level};
use crate::error::Result;
use crate::model::{ByteSize, EngineKind, EnvStatus, InstanceName};

/// Usage of the volume that triggers a warning, in percent.
const FULL_PERCENT: u64 = 90;

pub(crate) async fn all(lima: &Lima) -> Result<Vec<Finding>> {
    let version = lima.limactl.version().await?.to_owned();
    let home = lima.limactl.home();
    let program = lima
        .limactl
        .program()
        .map(|path| path.display().to_string());
    let label = EngineKind::Lima.label();
    let found = format!("limactl {version} at {}", program.unwrap_or_default());
    let mut findings = vec![Finding::new(label, Level::Good, found)];
    findings.push(name_limit(lima));
    findings.push(volume(lima).await?);
    findings.extend(broken(lima).await?);
    findings.extend(crashed(lima)?);
    findings.extend(unreadable(lima)?);
    findings.extend(renamed(lima)?);
    findings.extend(orphans(lima));
    findings.extend(port_conflicts(lima).await?);
    findings.extend(local_network(lima).await);
    tracing::debug!(home = %home.display(), "diagnosed");
    Ok(findings)
}

/// Checks the longest possible name: the path of a machine's sockets is limited.
fn name_limit(lima: &Lima) -> Finding {
    let home = lima.limactl.home();
    let subject = "Lima: names";
    let fits = |length: usize| {
        let name = InstanceName::parse(&"a".repeat(length));
        name.is_ok_and(|name| directory::ensure_short(home, &name).is_ok())
    };
    let longest = (1..=63).rev().find(|length| fits(*length)).unwrap_or(0);
    let message = format!(
        "machine names below {} are limited to {longest} characters",
        home.display()
    );
    match longest {
        24.. => Finding::new(subject, Level::Good, message),
        _ => Finding::new(subject, Level::Warning, message)
            .with_hint("set LIMA_HOME to a shorter path: a machine is named PROJECT-ENV"),
    }
}

async fn volume(lima: &Lima) -> Result<Finding> {
    let capabilities = lima.capabilities().await?;
    let space = copy::space(lima.limactl.home())?;
    let percent = space.used.saturating_mul(100) / space.total.max(1);
    let copies = if capabilities.copy_on_write {
        "snapshots share its blocks"
    } else {
        "each snapshot is a full copy of what a disk holds"
    };
    let message = format!("{percent} % full; {copies}");
    let subject = "Lima: volume";
    Ok(match percent {
        FULL_PERCENT.. => Finding::new(subject, Level::Warning, message)
            .with_hint(super::errors::VOLUME_FULL_HINT),
        _ => Finding::new(subject, Level::Good, message),
    })
}

async fn broken(lima: &Lima) -> Result<Vec<Finding>> {
    let all = lima.list_brief().await?;
    let ours = all.iter().filter(|instance| !instance.marks.is_empty());
    let broken = ours.filter(|instance| instance.status == EnvStatus::Error);
    let findings = broken.map(|instance| {
        let name = &instance.name;
        let message = format!("`{name}` is broken: one of its processes was killed");
        Finding::new("Lima: machines", Level::Warning, message).with_hint(format!(
            "run `limactl stop -f {name}`, or start it, which does the same first"
        ))
    });
    Ok(findings.collect())
}

/// Reports machines renamed outside of this program.
fn renamed(lima: &Lima) -> Result<Vec<Finding>> {
    let renamed = lima.renamed()?.into_iter();
    let findings = renamed.map(|(name, old)| {
        let message = format!("`{old}` was renamed to `{name}` by hand: its env is not found");
        Finding::new("Lima: machines", Level::Warning, message)
            .with_hint(format!("run `limactl rename {name} {old}`"))
    });
    Ok(findings.collect())
}

/// Reports snapshots of deleted machines.
fn orphans(lima: &Lima) -> Vec<Finding> {
    // An unreadable record makes them unknown, and is reported by itself.
    let all = lima.orphans().unwrap_or_default().into_iter();
    let findings = all.map(|Leftover { what, bytes, .. }| {
        let message = format!("orphaned: {what} ({})", ByteSize(bytes));
        Finding::new("Lima: snapshots", Level::Warning, message)
            .with_hint("run `lxc-dev-manager gc --all` to delete them")
    });
    findings.collect()
}

/// Reports ports that Lima cannot forward because they are in use: it logs that and never retries.
async fn port_conflicts(lima: &Lima) -> Result<Vec<Finding>> {
    let all = lima.list_brief().await?.into_iter();
    let running = all.filter(|instance| instance.status.is_up());
    let findings = running.flat_map(|instance| {
        let conflicts = agent_log::conflicting_ports(&lima.directory(&instance.name));
        let ports = instance.settings.native_ports.into_iter();
        let lost = ports.filter(move |port| conflicts.contains(&port.on_host().get()));
        lost.map(move |port| {
            let name = &instance.name;
            let message =
                format!("Lima cannot forward port {port} of `{name}`: the port is in use");
            Finding::new("Lima: ports", Level::Warning, message).with_hint(format!(
                "stop the process that uses port {port}, then restart the env"
            ))
        })
    });
    Ok(findings.collect())
}

/// Reports machines whose record cannot be read.
fn unreadable(lima: &Lima) -> Result<Vec<Finding>> {
    let all = Directory::all(lima.limactl.home())?.into_iter();
    let errors = all.filter_map(|(name, machine)| Record::read(&machine, &name).err());
    let findings = errors.map(|error| {
        let report = error.report();
        let finding = Finding::new("Lima: machines", Level::Bad, report.message);
        match report.hint {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        }
    });
    Ok(findings.collect())
}

/// Reports crashed machines that Lima takes for running because other processes have reused their pids.
fn crashed(lima: &Lima) -> Result<Vec<Finding>> {
    let all = Directory::all(lima.limactl.home())?.into_iter();
    let foreign_processes = all.flat_map(|(name, machine)| {
        let foreign_processes = machine.foreign_processes().into_iter();
        foreign_processes.map(move |foreign| (name.clone(), foreign))
    });
    let findings = foreign_processes.map(|(name, foreign)| {
        let message = format!("`{name}` has crashed: {foreign}");
        let file = foreign.file.display();
        Finding::new("Lima: machines", Level::Warning, message).with_hint(format!(
            "do not run `limactl stop -f {name}`, which would kill that process; `lxc-dev-manager up` deletes {file} first"
        ))
    });
    Ok(findings.collect())
}

/// Checks whether a running machine is reachable at its own address.
async fn local_network(lima: &Lima) -> Option<Finding> {
    let all = lima.list_brief().await.ok()?;
    let instance = all.iter().find(|instance| instance.address.is_some())?;
    let machine = lima.existing(&instance.name).ok()?;
    let yaml = machine.text(directory::YAML).ok()??;
    if !settings::has_own_address(&yaml) || super::draft_name::is_draft(&instance.name) {
        return None;
    }
    // An SSH server always listens there.
    let dialled = tokio::net::TcpStream::connect((instance.address?, 22));
    let connected = tokio::time::timeout(std::time::Duration::from_secs(1), dialled).await;
    let subject = "Lima: network";
    Some(match connected {
        Ok(Ok(_)) => Finding::new(subject, Level::Good, "machines are reachable at their addresses"),
        _ => Finding::new(
            subject,
            Level::Warning,
            format!("`{}` is unreachable at its address; its ports use SSH, which is slower", instance.name),
        )
        .with_hint(
            "on macOS 15 or newer: allow this program in System Settings, Privacy & Security, Local Network",
        ),
    })
}
