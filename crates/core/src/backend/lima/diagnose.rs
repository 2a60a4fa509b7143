//! What machines need here: Lima itself, room, and for machines of the vz driver the way to them.

use crate::backend::lima::Lima;
use crate::backend::lima::copy;
use crate::backend::lima::lifecycle::drafts;
use crate::backend::lima::machine::agent_log;
use crate::backend::lima::machine::directory;
use crate::backend::lima::machine::directory::Directory;
use crate::backend::lima::machine::record::Record;
use crate::backend::lima::machine::settings;
use crate::backend::{Backend, Finding, Leftover, Level};
use crate::error::Result;
use crate::model::{ByteSize, EngineKind, EnvStatus, InstanceName};

/// A volume that is fuller than this, in percent, will soon be in the way.
const FULL: u64 = 90;

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
    findings.push(names(lima));
    findings.push(volume(lima).await?);
    findings.extend(broken(lima).await?);
    findings.extend(crashed(lima)?);
    findings.extend(unreadable(lima)?);
    findings.extend(renamed(lima)?);
    findings.extend(orphans(lima));
    findings.extend(taken(lima).await?);
    findings.extend(local_network(lima).await);
    tracing::debug!(home = %home.display(), "looked at");
    Ok(findings)
}

/// How long names may be: sockets of each machine lie below `LIMA_HOME`.
fn names(lima: &Lima) -> Finding {
    let home = lima.limactl.home();
    let subject = "Lima: names";
    let fits = |length: usize| {
        let name = InstanceName::parse(&"a".repeat(length));
        name.is_ok_and(|name| directory::expect_short(home, &name).is_ok())
    };
    let longest = (1..=63).rev().find(|length| fits(*length)).unwrap_or(0);
    let message = format!(
        "a machine's name may have {longest} characters below {}",
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
    let copies = match capabilities.copy_on_write {
        true => "snapshots share its blocks",
        false => "each snapshot is a full copy of what a disk holds",
    };
    let message = format!("{percent} % full; {copies}");
    let subject = "Lima: volume";
    Ok(match percent {
        FULL.. => Finding::new(subject, Level::Warning, message)
            .with_hint(crate::backend::lima::FULL_HINT),
        _ => Finding::new(subject, Level::Good, message),
    })
}

async fn broken(lima: &Lima) -> Result<Vec<Finding>> {
    let all = lima.list_brief().await?;
    let ours = all.iter().filter(|instance| !instance.marks.is_empty());
    let broken = ours.filter(|instance| instance.status == EnvStatus::Error);
    let told = broken.map(|instance| {
        let name = &instance.name;
        let message = format!("`{name}` is broken: one of its processes was killed");
        Finding::new("Lima: machines", Level::Warning, message).with_hint(format!(
            "`limactl stop -f {name}`, or start it: that does the same first"
        ))
    });
    Ok(told.collect())
}

/// Machines that have another name than their envs know.
fn renamed(lima: &Lima) -> Result<Vec<Finding>> {
    let renamed = lima.renamed()?.into_iter();
    let told = renamed.map(|(name, old)| {
        let message = format!("`{old}` was renamed to `{name}` by hand: its env isn't found");
        Finding::new("Lima: machines", Level::Warning, message)
            .with_hint(format!("`limactl rename {name} {old}`"))
    });
    Ok(told.collect())
}

/// Snapshots of machines that there are no more.
fn orphans(lima: &Lima) -> Vec<Finding> {
    // Where a record can't be read nobody knows of any; that is told of itself.
    let all = lima.orphans().unwrap_or_default().into_iter();
    let told = all.map(|Leftover { what, bytes, .. }| {
        let message = format!("{what} that Lima has no more hold {}", ByteSize(bytes));
        Finding::new("Lima: snapshots", Level::Warning, message)
            .with_hint("`lxc-dev-manager gc --all` deletes them")
    });
    told.collect()
}

/// Ports that Lima was to forward and that somebody else had here: it says so in its log, and never tries again.
async fn taken(lima: &Lima) -> Result<Vec<Finding>> {
    let all = lima.list_brief().await?.into_iter();
    let running = all.filter(|instance| instance.status.is_up());
    let findings = running.flat_map(|instance| {
        let taken = agent_log::taken_ports(&lima.directory(&instance.name));
        let ports = instance.settings.native_ports.into_iter();
        let lost = ports.filter(move |port| taken.contains(&port.on_host().get()));
        lost.map(move |port| {
            let name = &instance.name;
            let message = format!("Lima can't forward port {port} of `{name}`: it is taken here");
            Finding::new("Lima: ports", Level::Warning, message)
                .with_hint(format!("end who has port {port}, and restart the env"))
        })
    });
    Ok(findings.collect())
}

/// Machines of which nobody knows whose they are.
fn unreadable(lima: &Lima) -> Result<Vec<Finding>> {
    let all = Directory::all(lima.limactl.home())?.into_iter();
    let errors = all.filter_map(|(name, machine)| Record::read(&machine, &name).err());
    let told = errors.map(|error| {
        let report = error.report();
        let finding = Finding::new("Lima: machines", Level::Bad, report.message);
        match report.hint {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        }
    });
    Ok(told.collect())
}

/// Machines that Lima holds for running because strangers have the numbers of their processes.
fn crashed(lima: &Lima) -> Result<Vec<Finding>> {
    let all = Directory::all(lima.limactl.home())?.into_iter();
    let strangers = all.flat_map(|(name, machine)| {
        let strangers = machine.strangers().into_iter();
        strangers.map(move |stranger| (name.clone(), stranger))
    });
    let told = strangers.map(|(name, stranger)| {
        let message = format!("`{name}` was stopped by a crash: {stranger}");
        let file = stranger.file.display();
        Finding::new("Lima: machines", Level::Warning, message).with_hint(format!(
            "never `limactl stop -f {name}`, which would kill it; our own `up` deletes {file} first"
        ))
    });
    Ok(told.collect())
}

/// Whether a running machine with an address of its own is reached by it.
async fn local_network(lima: &Lima) -> Option<Finding> {
    let all = lima.list_brief().await.ok()?;
    let instance = all.iter().find(|instance| instance.address.is_some())?;
    let machine = lima.existing(&instance.name).ok()?;
    let yaml = machine.text(directory::YAML).ok()??;
    if !settings::has_own_address(&yaml) || drafts::is_draft(&instance.name) {
        return None;
    }
    // Its SSH server listens there in any case.
    let dialled = tokio::net::TcpStream::connect((instance.address?, 22));
    let answer = tokio::time::timeout(std::time::Duration::from_secs(1), dialled).await;
    let subject = "Lima: network";
    Some(match answer {
        Ok(Ok(_)) => Finding::new(subject, Level::Good, "machines are reached straight"),
        _ => Finding::new(
            subject,
            Level::Warning,
            format!("`{}` isn't reached by its address; its ports go by SSH, slower", instance.name),
        )
        .with_hint(
            "on macOS 15 or newer: System Settings, Privacy & Security, Local Network: allow it to this program",
        ),
    })
}
