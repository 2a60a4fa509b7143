//! Clones, other names, and images made of envs, on a real engine.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

/// What makes an env a machine of its own.
const IDENTITY: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub 2>/dev/null; \
                        cat /sys/class/net/eth0/address";
/// Packed in no time, other than the image of most tests.
const SMALL: &str = "ldm-busybox";

/// Each line of an env's identity, all of which another env must not share.
fn identity(workspace: &Workspace, env: &str) -> Result<Vec<String>> {
    let text = workspace.ok(&["exec", env, "--", "sh", "-c", IDENTITY])?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(lines.len() >= 3, "{lines:?}");
    Ok(lines)
}

fn expect_strangers(workspace: &Workspace, one: &str, other: &str) -> Result<()> {
    let (one, other) = (identity(workspace, one)?, identity(workspace, other)?);
    let shared: Vec<&String> = one.iter().filter(|line| other.contains(line)).collect();
    ensure!(shared.is_empty(), "both have {shared:?}");
    Ok(())
}

pub fn a_clone_is_another_machine_with_the_same_files(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["exec", "dev", "--", "sh", "-c", "echo one >note"])?;
    workspace.ok(&["container", "snapshot", "create", "dev", "first"])?;
    workspace.ok(&["exec", "dev", "--", "sh", "-c", "echo two >note"])?;
    workspace.ok(&["container", "clone", "dev", "now"])?;
    workspace.ok(&["c", "clone", "dev", "then", "-s", "first"])?;
    let note = |env: &str| workspace.ok(&["exec", env, "--", "cat", "note"]);
    ensure!(note("now")? == "two\n", "{}", note("now")?);
    ensure!(note("then")? == "one\n", "{}", note("then")?);
    expect_strangers(&workspace, "dev", "now")?;
    expect_strangers(&workspace, "now", "then")?;
    let snapshots = workspace.ok(&["container", "snapshot", "list", "now"])?;
    ensure!(
        snapshots.contains("initial-state") && !snapshots.contains("first"),
        "{snapshots}"
    );
    // Its own `initial-state` is what it was when it was made.
    workspace.ok(&["exec", "now", "--", "rm", "note"])?;
    workspace.ok(&["container", "reset", "now"])?;
    ensure!(note("now")? == "two\n", "{}", note("now")?);
    expect_strangers(&workspace, "dev", "now")
}

pub fn a_renamed_env_is_the_same_one(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["exec", "dev", "--", "sh", "-c", "echo one >note"])?;
    workspace.ok(&["container", "reset", "dev"])?;
    workspace.ok(&["rename", "dev", "main"])?;
    let instance = format!("{}-main", workspace.project);
    let named = workspace.ok(&[
        "exec",
        "main",
        "--",
        "sh",
        "-c",
        "hostname; cat /etc/hostname",
    ])?;
    ensure!(named == format!("{instance}\n{instance}\n"), "{named}");
    ensure!(
        workspace.instances()? == [instance],
        "{:?}",
        workspace.instances()?
    );
    ensure!(!workspace.file()?.contains("dev:"), "{}", workspace.file()?);
    // What undo kept under its old name is found under the new one.
    workspace.ok(&["undo", "main"])?;
    let note = workspace.ok(&["exec", "main", "--", "cat", "note"])?;
    ensure!(note == "one\n", "{note}");
    let taken = workspace.run(&["rename", "main", "main"])?;
    ensure!(taken.code == Some(1), "{taken:?}");
    ensure!(
        taken.stderr.contains("has an env `main` already"),
        "{taken:?}"
    );
    Ok(())
}

pub fn an_image_of_an_env_makes_envs_of_their_own(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let image = format!("{}-base", workspace.project);
    let other = format!("{image}-2");
    workspace.ok(&["container", "create", "dev", SMALL])?;
    workspace.ok(&["exec", "dev", "--", "sudo", "touch", "/mine"])?;
    let made = (|| {
        workspace.ok(&["image", "create", "dev", &image])?;
        let listed = workspace.ok(&["list"])?;
        ensure!(listed.contains("RUNNING"), "{listed}");
        let again = workspace.run(&["image", "create", "dev", &image])?;
        ensure!(again.code == Some(1), "{again:?}");
        ensure!(again.stderr.contains("already"), "{again:?}");
        workspace.ok(&["container", "create", "two", &image])?;
        workspace.ok(&["exec", "two", "--", "test", "-e", "/mine"])?;
        expect_strangers(&workspace, "dev", "two")?;
        workspace.ok(&["image", "rename", &image, &other])?;
        let info = workspace.ok(&["--json", "image", "info", &other])?;
        let info: serde_json::Value = serde_json::from_str(&info)?;
        let user = format!("{}-two", workspace.project);
        ensure!(info["used_by"] == serde_json::json!([user]), "{info}");
        let unnamed = workspace.ok(&["images"])?;
        ensure!(unnamed.contains(&other), "{unnamed}");
        travels(&workspace, &other)
    })();
    for name in [&image, &other] {
        // One of the two is there.
        workspace.run(&["image", "delete", "-f", name])?;
    }
    let left = workspace.ok(&["image", "list", "-a"])?;
    ensure!(!left.contains(&image), "{left}");
    made
}

/// Written to a file, deleted, and taken back in.
fn travels(workspace: &Workspace, image: &str) -> Result<()> {
    workspace.ok(&["image", "export", image, "image.bin"])?;
    let again = workspace.run(&["image", "export", image, "image.bin"])?;
    ensure!(again.code == Some(1), "{again:?}");
    let refused = workspace.run(&["image", "delete", image])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("were made from it"), "{refused:?}");
    workspace.ok(&["image", "delete", "-f", image])?;
    std::fs::write(workspace.directory().join("rubbish"), "no image")?;
    let rubbish = workspace.run(&["image", "import", "rubbish", image])?;
    ensure!(rubbish.code == Some(3), "{rubbish:?}");
    workspace.ok(&["image", "import", "image.bin", image])?;
    workspace.ok(&["image", "info", image]).map(drop)
}

pub fn a_deleted_project_comes_back(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let before = workspace.file()?;
    let refused = workspace.run(&["project", "delete"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("`dev` goes"), "{refused:?}");
    workspace.ok(&["project", "delete", "-f"])?;
    ensure!(workspace.file().is_err(), "the file is still there");
    workspace.ok(&["undo"])?;
    ensure!(workspace.file()? == before, "{}", workspace.file()?);
    for env in ["dev", "two"] {
        workspace.ok(&["exec", env, "--", "true"])?;
    }
    workspace.ok(&["project", "delete", "-f"])?;
    workspace.ok(&["gc", "--all", "-f"])?;
    ensure!(
        workspace.instances()?.is_empty(),
        "{:?}",
        workspace.instances()?
    );
    Ok(())
}
