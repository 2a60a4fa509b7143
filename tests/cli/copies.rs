//! Clone, rename, publish and project deletion on a real engine.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

/// Prints the identity of an env.
const IDENTITY: &str = "hostname; cat /etc/machine-id /etc/ssh/ssh_host_*_key.pub 2>/dev/null; \
                        cat /sys/class/net/eth0/address";
/// A small image that is quick to publish.
const SMALL_IMAGE: &str = "ldm-busybox";

/// Returns the lines of an env's identity, which must be unique.
fn identity(workspace: &Workspace, env: &str) -> Result<Vec<String>> {
    let text = workspace.ok(&["exec", env, "--", "sh", "-c", IDENTITY])?;
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    ensure!(lines.len() >= 3, "{lines:?}");
    Ok(lines)
}

fn ensure_distinct(workspace: &Workspace, one: &str, other: &str) -> Result<()> {
    let (one, other) = (identity(workspace, one)?, identity(workspace, other)?);
    let shared: Vec<&String> = one.iter().filter(|line| other.contains(line)).collect();
    ensure!(shared.is_empty(), "both have {shared:?}");
    Ok(())
}

pub fn clone_has_the_files_but_its_own_identity(engine: &TestEngine) -> Result<()> {
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
    ensure_distinct(&workspace, "dev", "now")?;
    ensure_distinct(&workspace, "now", "then")?;
    let snapshots = workspace.ok(&["container", "snapshot", "list", "now"])?;
    ensure!(
        snapshots.contains("initial-state") && !snapshots.contains("first"),
        "{snapshots}"
    );
    // Its `initial-state` is the state after cloning.
    workspace.ok(&["exec", "now", "--", "rm", "note"])?;
    workspace.ok(&["container", "reset", "now"])?;
    ensure!(note("now")? == "two\n", "{}", note("now")?);
    ensure_distinct(&workspace, "dev", "now")
}

pub fn renamed_env_keeps_its_data(engine: &TestEngine) -> Result<()> {
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
    // The undo copy follows the rename.
    workspace.ok(&["undo", "main"])?;
    let note = workspace.ok(&["exec", "main", "--", "cat", "note"])?;
    ensure!(note == "one\n", "{note}");
    let refused = workspace.run(&["rename", "main", "main"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(
        refused.stderr.contains("already has an env `main`"),
        "{refused:?}"
    );
    Ok(())
}

pub fn published_image_creates_distinct_envs(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let image = format!("{}-base", workspace.project);
    let other = format!("{image}-2");
    workspace.ok(&["container", "create", "dev", SMALL_IMAGE])?;
    workspace.ok(&["exec", "dev", "--", "sudo", "touch", "/mine"])?;
    let result = (|| {
        workspace.ok(&["image", "create", "dev", &image])?;
        let listed = workspace.ok(&["list"])?;
        ensure!(listed.contains("RUNNING"), "{listed}");
        let again = workspace.run(&["image", "create", "dev", &image])?;
        ensure!(again.code == Some(1), "{again:?}");
        ensure!(again.stderr.contains("already"), "{again:?}");
        workspace.ok(&["container", "create", "two", &image])?;
        workspace.ok(&["exec", "two", "--", "test", "-e", "/mine"])?;
        ensure_distinct(&workspace, "dev", "two")?;
        workspace.ok(&["image", "rename", &image, &other])?;
        let info = workspace.ok(&["--json", "image", "info", &other])?;
        let info: serde_json::Value = serde_json::from_str(&info)?;
        let user = format!("{}-two", workspace.project);
        ensure!(info["used_by"] == serde_json::json!([user]), "{info}");
        let unnamed = workspace.ok(&["images"])?;
        ensure!(unnamed.contains(&other), "{unnamed}");
        export_and_import(&workspace, &other)
    })();
    for name in [&image, &other] {
        workspace.run(&["image", "delete", "-f", name])?;
    }
    let left = workspace.ok(&["image", "list", "-a"])?;
    ensure!(!left.contains(&image), "{left}");
    result
}

/// Exports, deletes and imports an image.
fn export_and_import(workspace: &Workspace, image: &str) -> Result<()> {
    workspace.ok(&["image", "export", image, "image.bin"])?;
    let again = workspace.run(&["image", "export", image, "image.bin"])?;
    ensure!(again.code == Some(1), "{again:?}");
    let refused = workspace.run(&["image", "delete", image])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(
        refused.stderr.contains("Envs created from it"),
        "{refused:?}"
    );
    workspace.ok(&["image", "delete", "-f", image])?;
    std::fs::write(workspace.directory().join("invalid"), "no image")?;
    let invalid = workspace.run(&["image", "import", "invalid", image])?;
    ensure!(invalid.code == Some(3), "{invalid:?}");
    workspace.ok(&["image", "import", "image.bin", image])?;
    workspace.ok(&["image", "info", image]).map(drop)
}

pub fn deleted_project_is_restored(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "clone", "dev", "two"])?;
    let before = workspace.file()?;
    let refused = workspace.run(&["project", "delete"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("`dev` is removed"), "{refused:?}");
    workspace.ok(&["project", "delete", "-f"])?;
    ensure!(workspace.file().is_err(), "file not deleted");
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
