//! `mv` on a real engine: between host and env, and between envs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use anyhow::{Result, ensure};
use lxc_dev_manager_core::clock::SystemClock;
use lxc_dev_manager_core::event::EventKind;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::model::ByteSize;
use lxc_dev_manager_core::operations::{Location, Operations, TransferRequest};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::{Workspace, apart};
use tokio::sync::broadcast::error::TryRecvError;
use tokio_util::sync::CancellationToken;

/// Names that need quoting.
const NAMES: [&str; 8] = [
    "plain",
    "with blank",
    "'quotes\"",
    "$(touch pwned)",
    "new\nline",
    "-rf",
    "ünï",
    "semi;colon*",
];

/// Creates an env `dev` and a host directory `src` with files of these names.
fn with_tree(engine: &TestEngine) -> Result<Workspace> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let source = workspace.directory().join("src");
    fs::create_dir_all(source.join("empty"))?;
    for name in NAMES {
        fs::write(source.join(name), name)?;
    }
    fs::set_permissions(source.join("plain"), fs::Permissions::from_mode(0o750))?;
    symlink("plain", source.join("link"))?;
    Ok(workspace)
}

pub fn copies_files_with_any_name(engine: &TestEngine) -> Result<()> {
    let workspace = with_tree(engine)?;
    workspace.ok(&["mv", "src", "dev:"])?;
    let owners = workspace.ok(&[
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "find src ! -user dev; stat -c %a src/plain; readlink src/link",
    ])?;
    ensure!(owners == "750\nplain\n", "{owners}");
    workspace.ok(&["cp", "dev:src", "back"])?;
    let back = workspace.directory().join("back");
    for name in NAMES {
        ensure!(fs::read_to_string(back.join(name))? == name, "{name:?}");
    }
    ensure!(
        fs::read_link(back.join("link"))?.to_str() == Some("plain"),
        "the link"
    );
    ensure!(back.join("empty").is_dir(), "the empty directory");
    ensure!(
        !workspace.directory().join("pwned").exists(),
        "file name was executed"
    );
    // Each file alone.
    for name in NAMES {
        let (from, to) = (format!("./src/{name}"), format!("dev:/tmp/{name}"));
        workspace.ok(&["mv", &from, &to])?;
        let back = format!("./one-{name}");
        workspace.ok(&["mv", &to, &back])?;
        let text = fs::read_to_string(workspace.directory().join(&back))?;
        ensure!(text == name, "{name:?}: {text:?}");
    }
    let left = workspace.ok(&[
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "ls -a / /tmp . | grep ldm- || true",
    ])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

pub fn directories_are_merged_not_replaced(engine: &TestEngine) -> Result<()> {
    let workspace = with_tree(engine)?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let missing = workspace.run(&["mv", "src", "dev:deep/er/"])?;
    ensure!(missing.code == Some(1), "{missing:?}");
    ensure!(missing.stderr.contains("/home/dev/deep"), "{missing:?}");
    ensure!(missing.stderr.contains("`-y`"), "{missing:?}");
    workspace.ok(&["mv", "-y", "src", "*:deep/er/"])?;
    let owners = workspace.ok(&[
        "exec",
        "*",
        "--",
        "sh",
        "-c",
        "find deep ! -user dev | wc -l; cat deep/er/src/plain",
    ])?;
    ensure!(owners.matches("| 0\n").count() == 2, "{owners}");
    // Existing files are kept when merging.
    workspace.ok(&[
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "echo old >deep/er/src/mine; echo old >deep/er/src/plain",
    ])?;
    workspace.ok(&["mv", "src", "dev:deep/er"])?;
    let merged = workspace.ok(&[
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "cat deep/er/src/mine deep/er/src/plain",
    ])?;
    ensure!(merged == "old\nplain", "{merged}");
    workspace.ok(&["exec", "dev", "--", "mkdir", "taken"])?;
    let refused = workspace.run(&["mv", "src/plain", "dev:taken/../taken"])?;
    ensure!(refused.code == Some(0), "into a directory: {refused:?}");
    workspace.ok(&[
        "exec",
        "dev",
        "--",
        "sh",
        "-c",
        "rm -r taken; mkdir -p taken/plain",
    ])?;
    let refused = workspace.run(&["mv", "src/plain", "dev:taken"])?;
    ensure!(
        refused.code == Some(1),
        "a file over a directory: {refused:?}"
    );
    ensure!(refused.stderr.contains("is a directory"), "{refused:?}");
    // Between envs, whose users may have different ids.
    workspace.ok(&["mv", "dev:deep/er/src", "two:/opt"])?;
    let seen = workspace.ok(&[
        "exec",
        "two",
        "--",
        "sh",
        "-c",
        "stat -c %U /opt/src/mine; ls -A /opt",
    ])?;
    ensure!(seen == "dev\nsrc\n", "{seen}");
    Ok(())
}

pub fn rejects_invalid_paths(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    for (from, to, words) in [
        ("nothing", "dev:", "no such file or directory"),
        (
            "dev:nothing",
            ".",
            "no such file or directory in the env: /home/dev/nothing",
        ),
        ("dev:/", ".", "cannot copy the root directory"),
        ("a", "b", "neither path is in an env"),
        ("*:a", "b", "several envs"),
        ("gone:a", "b", "no env `gone`"),
        ("2x:a", "b", "invalid env in"),
    ] {
        let ran = workspace.run(&["mv", from, to])?;
        ensure!(ran.code == Some(1), "{from} {to}: {ran:?}");
        ensure!(ran.stderr.contains(words), "{from} {to}: {ran:?}");
    }
    let ran = workspace.run(&["mv", "-y", "dev:nothing", "deep/er/here"])?;
    ensure!(ran.code == Some(1), "{ran:?}");
    let made = workspace.directory().join("deep");
    ensure!(!made.exists(), "created directory left over");
    workspace.ok(&["down", "dev"])?;
    fs::write(workspace.directory().join("x"), "x")?;
    let stopped = workspace.run(&["mv", "x", "dev:"])?;
    ensure!(
        stopped.stderr.contains("lxc-dev-manager up dev"),
        "{stopped:?}"
    );
    let journals = fs::read_dir(workspace.home().join("journal"))?.count();
    ensure!(journals == 0, "{journals} journals");
    Ok(())
}

pub fn full_disk_leaves_no_partial_files(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&[
        "exec",
        "-u",
        "root",
        "dev",
        "--",
        "sh",
        "-c",
        "mkdir /small; mount -t tmpfs -o size=64k,mode=777 none /small",
    ])?;
    fs::write(workspace.directory().join("big"), vec![7; 1 << 20])?;
    let ran = workspace.run(&["mv", "big", "dev:/small/big"])?;
    ensure!(ran.code == Some(3), "{ran:?}");
    ensure!(ran.stderr.contains("check its disk"), "{ran:?}");
    // Directories created for it are deleted too.
    let ran = workspace.run(&["mv", "-y", "big", "dev:/small/deep/er/big"])?;
    ensure!(ran.code == Some(3), "{ran:?}");
    let left = workspace.ok(&["exec", "dev", "--", "ls", "-A", "/small"])?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// Returns the reported percentages of a transfer in this process, because the CLI shows them only after a delay.
fn percents(workspace: &Workspace, from: &str, to: Location) -> Result<Vec<u8>> {
    let request = TransferRequest {
        from: Location::Guest {
            env: "dev".parse()?,
            path: from.to_owned(),
        },
        to,
        create_directories: false,
        max: ByteSize(1 << 40),
    };
    apart(async {
        let home = Home::new(workspace.home(), None, None);
        let backends = vec![workspace.engine().backend()];
        let engine = Arc::new(Operations::new(backends, home, Arc::new(SystemClock)));
        let mut events = engine.bus().subscribe();
        let project = Project::open(&workspace.directory())?;
        let copied = engine
            .transfer(&project, &request, &CancellationToken::new())
            .await?;
        ensure!(copied.bytes == 256 << 20, "{copied:?}");
        let mut percents = Vec::new();
        loop {
            match events.try_recv() {
                Ok(event) => {
                    if let EventKind::Progress { step, .. } = event.kind {
                        percents.extend(step.percent);
                    }
                }
                Err(TryRecvError::Lagged(_)) => {}
                Err(_) => return Ok(percents),
            }
        }
    })?
}

pub fn transfer_reports_progress(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    for env in ["dev", "two"] {
        workspace.ok(&["container", "create", env, "ldm-busybox"])?;
    }
    let make = "mkdir -p 'big one' && dd if=/dev/zero of='big one/x' bs=1M count=256 2>/dev/null";
    workspace.ok(&["exec", "dev", "--", "sh", "-c", make])?;
    let two = Location::Guest {
        env: "two".parse()?,
        path: String::new(),
    };
    for to in [Location::Host(workspace.root.path().join("here")), two] {
        let percents = percents(&workspace, "big one", to)?;
        ensure!(percents.is_sorted(), "{percents:?}");
        ensure!(percents.last() == Some(&100), "{percents:?}");
    }
    Ok(())
}
