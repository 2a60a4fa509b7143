//! SSH sessions of commands: one idle session is reused while it works.

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_core::backend::{ExecSpec, capture};
use lxc_dev_manager_core::model::InstanceName;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use lxc_dev_manager_tests::terminal::follows_size;

/// Prints the pid of its sshd, then waits.
const WHO: &str = "p=$PPID; while [ \"$p\" -gt 1 ]; do read -r name </proc/$p/comm; case $name in sshd*) break ;; esac; \
    p=$(awk '/^PPid/ { print $2 }' /proc/$p/status); done; echo $p; sleep \"$1\"";

pub fn trials(lima: &Lima) -> Vec<Trial> {
    let reuse = "sessions::one_is_reused_while_it_works";
    let size = "sessions::a_terminal_has_our_size_and_follows_it";
    let both = [
        lima.trials(reuse, reused),
        lima.trials(size, follows_our_size),
    ];
    both.into_iter().flatten().collect()
}

fn follows_our_size(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    follows_size(|command| Ok(project.command(&[&["exec", "dev", "--"], command].concat())))
}

fn reused(stage: &LimaStage) -> Result<()> {
    stage.running("m", "")?;
    let backend = stage.backend(Guest::Busybox)?;
    let name = InstanceName::parse("m")?;
    let who = async |pause: &str| -> Result<String> {
        let spec = ExecSpec::new(["sh", "-c", WHO, "sh", pause]);
        let output = capture(&backend, &name, &spec, Vec::new()).await?;
        ensure!(output.code == 0, "{output:?}");
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let first = who("0").await?;
        ensure!(who("0").await? == first, "the session was not reused");
        // Concurrent commands have separate sessions.
        let (one, other) = tokio::join!(who("1"), who("1"));
        ensure!(one? != other?, "two commands in one session");
        let kept = who("0").await?;
        ensure!(who("0").await? == kept, "not exactly one session is kept");
        let killed = Command::new("ssh")
            .arg("-F")
            .arg(stage.instance("m").join("ssh.config"))
            .args(["lima-m", "sudo", "kill", "-9", &kept])
            .status()?;
        ensure!(killed.success(), "cannot kill sshd: {killed}");
        ensure!(who("0").await? != kept, "the dead session was reused");
        // A cancelled command ends its session.
        let cancelled = who("60");
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), cancelled).await;
        who("0").await?;
        stage.ok(&["stop", "m"])?;
        stage.ok(&["start", "--tty=false", "m"])?;
        who("0").await.map(drop)
    })
}
