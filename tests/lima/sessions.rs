//! SSH sessions of commands: one is used again once its command has ended, and no longer than it is good.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_core::backend::{ExecSpec, capture};
use lxc_dev_manager_core::model::InstanceName;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use lxc_dev_manager_tests::terminal::follows_size;

/// Prints which process of sshd it is run by.
const WHO: &str = "p=$PPID; while [ \"$p\" -gt 1 ]; do read -r name </proc/$p/comm; case $name in sshd*) break ;; esac; \
    p=$(awk '/^PPid/ { print $2 }' /proc/$p/status); done; echo $p; sleep \"$1\"";

pub fn trials(lima: &Lima) -> Vec<Trial> {
    let again = "sessions::one_is_used_again_while_it_is_good";
    let size = "sessions::a_terminal_has_our_size_and_follows_it";
    let both = [
        lima.trials(again, used_again),
        lima.trials(size, follows_our_size),
    ];
    both.into_iter().flatten().collect()
}

fn follows_our_size(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    follows_size(|command| Ok(project.command(&[&["exec", "dev", "--"], command].concat())))
}

fn used_again(stage: &LimaStage) -> Result<()> {
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
        ensure!(
            who("0").await? == first,
            "another login for the next command"
        );
        // Each of two at once has its own.
        let (one, other) = tokio::join!(who("1"), who("1"));
        ensure!(one? != other?, "two commands in one session");
        let kept = who("0").await?;
        ensure!(who("0").await? == kept, "two were kept, or none");
        stage.ok(&[
            "shell",
            "--tty=false",
            "--workdir=/",
            "m",
            "sudo",
            "kill",
            "-9",
            &kept,
        ])?;
        ensure!(who("0").await? != kept, "its process is dead");
        // One that nobody waits for any more takes its session along.
        let broken_off = who("60");
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), broken_off).await;
        who("0").await?;
        stage.ok(&["stop", "m"])?;
        stage.ok(&["start", "--tty=false", "m"])?;
        who("0").await.map(drop)
    })
}
