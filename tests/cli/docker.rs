//! `nesting: docker` on real engines.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::docker;
use lxc_dev_manager_tests::engines::{TestEngine, docker_image};
use lxc_dev_manager_tests::workspace::Workspace;

fn write(workspace: &Workspace, nesting: &str) -> Result<()> {
    let text = format!(
        "project: {}\ndefaults: {{nesting: {nesting}}}\ncontainers:\n",
        workspace.project
    );
    Ok(std::fs::write(
        workspace.directory().join("containers.yaml"),
        text,
    )?)
}

/// Waits until Docker has started in the guest.
fn booted(workspace: &Workspace) -> Result<()> {
    workspace.ok(&["up", "dev"])?;
    docker::booted(|arguments| workspace.ok(arguments))
}

pub fn docker_works_after_restart(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    write(&workspace, "docker")?;
    workspace.ok(&["container", "create", "dev", &docker_image()])?;
    docker::runs(|arguments| workspace.ok(arguments))?;
    let driver = ["exec", "dev", "--", "docker", "info", "-f", "{{.Driver}}"];
    let driver = workspace.ok(&driver)?;
    ensure!(driver == "overlay2\n", "{driver}");
    workspace.ok(&["restart", "dev"])?;
    booted(&workspace)?;
    docker::runs_again(|arguments| workspace.ok(arguments))?;
    // A restore covers Docker's data.
    workspace.ok(&["container", "reset", "dev"])?;
    booted(&workspace)?;
    let images = workspace.ok(&["exec", "dev", "--", "docker", "images", "-q"])?;
    ensure!(images.is_empty(), "{images}");
    Ok(())
}

pub fn docker_nesting_is_applied_or_rejected(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    write(&workspace, "true")?;
    workspace.ok(&["container", "create", "dev", &docker_image()])?;
    let with = |nesting: &str| -> Result<()> {
        let path = workspace.directory().join("containers.yaml");
        let text = std::fs::read_to_string(&path)?;
        let words = ["true", "docker"].map(|word| format!("nesting: {word}"));
        let now = format!("nesting: {nesting}");
        let text = words
            .iter()
            .fold(text, |text, word| text.replace(word, &now));
        Ok(std::fs::write(path, text)?)
    };
    with("docker")?;
    workspace.ok(&["down", "dev"])?;
    let refused = workspace.run(&["config", "apply", "dev"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("is not running"), "{refused:?}");
    workspace.ok(&["up", "dev"])?;
    let applied = workspace.ok(&["config", "apply", "dev"])?;
    ensure!(applied.contains("nesting true → docker"), "{applied}");
    workspace.ok(&["exec", "dev", "--", "docker", "ps"])?;
    let create = ["container", "create", "two", "ldm-busybox"];
    let refused = workspace.run(&create)?;
    ensure!(refused.code == Some(3), "{refused:?}");
    ensure!(
        refused.stderr.contains("the image lacks Docker"),
        "{refused:?}"
    );
    ensure!(refused.stderr.contains("nesting: true"), "{refused:?}");
    ensure!(
        workspace.instances()?.len() == 1,
        "{:?}",
        workspace.instances()?
    );
    Ok(())
}
