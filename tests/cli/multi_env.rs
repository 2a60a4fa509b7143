//! Commands for several envs, settings, events, ssh-config and doctor.

use std::io::{BufRead, BufReader};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;
use serde_json::Value;

pub fn patterns_select_and_create_envs(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let image = lxc_dev_manager_tests::engines::image();
    let text = format!(
        "project: {}\ncontainers:\n  fe-1: {{image: {image}}}\n  fe-2: {{image: {image}, cpus: 1}}\n",
        workspace.project
    );
    std::fs::write(workspace.directory().join("containers.yaml"), text)?;
    workspace.ok(&["up"])?;
    let said = workspace.ok(&["exec", "fe*", "--", "sh", "-c", "echo I am $(hostname)"])?;
    for env in ["fe-1", "fe-2"] {
        let line = format!("{env} | I am {}-{env}\n", workspace.project);
        ensure!(said.contains(&line), "{said}");
    }
    // Each in its turn: the order of the envs does not decide.
    for (bad, good) in [("fe-1", "fe-2"), ("fe-2", "fe-1")] {
        let only = format!("{}-{bad}", workspace.project);
        let script = format!("if [ $(hostname) = {only} ]; then exit 7; fi; touch after-{bad}");
        let mixed = workspace.run(&["exec", "fe*", "--", "sh", "-c", &script])?;
        ensure!(mixed.code == Some(7), "{bad}: {mixed:?}");
        let made = format!("after-{bad}");
        workspace.ok(&["exec", good, "--", "test", "-e", &made])?;
        let absent = workspace.run(&["exec", bad, "--", "test", "-e", &made])?;
        ensure!(absent.code == Some(1), "{bad}: {absent:?}");
    }
    let json = workspace.ok(&["--json", "down", "*"])?;
    let json: Value = serde_json::from_str(&json)?;
    let rows = json["envs"].as_array().context("no envs")?;
    ensure!(rows.len() == 2 && rows[1]["status"] == "stopped", "{json}");
    workspace.ok(&["restart", "fe-1"])?;
    let none = workspace.run(&["up", "be*"])?;
    ensure!(none.code == Some(1), "{none:?}");
    ensure!(none.stderr.contains("`fe-1`"), "{none:?}");
    ensure_status(&workspace, [("fe-1", "running"), ("fe-2", "stopped")])?;
    let mixed = workspace.run(&["restart", "fe-2", "gone"])?;
    ensure!(mixed.code == Some(1), "{mixed:?}");
    ensure!(mixed.stdout.contains("Started fe-2"), "{mixed:?}");
    ensure!(mixed.stderr.contains("no env `gone`"), "{mixed:?}");
    ensure_status(&workspace, [("fe-1", "running"), ("fe-2", "running")])?;
    // A first failure does not stop the rest.
    let mixed = workspace.run(&["--json", "down", "gone", "fe-2"])?;
    ensure!(mixed.code == Some(1), "{mixed:?}");
    let json: Value = serde_json::from_str(&mixed.stdout)?;
    let rows = json["envs"].as_array().context("no envs")?;
    ensure!(rows.len() == 2, "{json}");
    ensure!(rows[0]["error"]["kind"] == "not-found", "{json}");
    ensure!(rows[1]["status"] == "stopped", "{json}");
    ensure_status(&workspace, [("fe-1", "running"), ("fe-2", "stopped")])?;
    workspace.ok(&["remove", "-f", "fe*"])?;
    let listed = workspace.ok(&["list"])?;
    ensure!(listed.contains("no envs yet"), "{listed}");
    Ok(())
}

/// Checks the envs of a project and their status, in the file's order.
fn ensure_status<const N: usize>(workspace: &Workspace, wanted: [(&str, &str); N]) -> Result<()> {
    let listed: Value = serde_json::from_str(&workspace.ok(&["list", "--json"])?)?;
    let envs = listed["envs"].as_array().context("no envs")?;
    let found: Vec<_> = envs
        .iter()
        .map(|env| (env["name"].as_str(), env["status"].as_str()))
        .collect();
    let wanted = wanted.map(|(name, status)| (Some(name), Some(status)));
    ensure!(found == wanted, "{listed}");
    Ok(())
}

/// Checks CPUs, memory and disk of an env, as reported by the engine.
fn ensure_limits(workspace: &Workspace, [cpus, memory, disk]: [u64; 3]) -> Result<()> {
    let info = workspace.ok(&["--json", "info", "dev"])?;
    let info: Value = serde_json::from_str(&info)?;
    let wanted = serde_json::json!({ "cpus": cpus, "memory": memory, "disk": disk });
    ensure!(info["limits"] == wanted, "{}", info["limits"]);
    Ok(())
}

pub fn limits_come_from_flags_then_file(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let image = lxc_dev_manager_tests::engines::image();
    workspace.ok(&[
        "container",
        "create",
        "dev",
        &image,
        "--cpus",
        "1",
        "--memory",
        "512MiB",
        "--disk",
        "1GiB",
        "-u",
        "me",
    ])?;
    let user = workspace.ok(&["exec", "dev", "--", "id", "-un"])?;
    ensure!(user == "me\n", "{user}");
    ensure_limits(&workspace, [1, 512 << 20, 1 << 30])?;
    let file = workspace.file()?;
    ensure!(
        file.contains("memory: 512MiB") && file.contains("name: me"),
        "{file}"
    );
    let as_is = workspace.ok(&["config", "apply"])?;
    ensure!(as_is.contains("already up to date"), "{as_is}");
    let changed = file
        .replace("cpus: 1", "cpus: 2")
        .replace("512MiB", "600MiB");
    std::fs::write(workspace.directory().join("containers.yaml"), changed)?;
    let applied = workspace.ok(&["config", "apply", "dev"])?;
    ensure!(
        applied.contains("cpus 1 → 2, memory 512MiB → 600MiB"),
        "{applied}"
    );
    ensure_limits(&workspace, [2, 600 << 20, 1 << 30])?;
    let info = workspace.ok(&["--json", "info", "dev"])?;
    let info: Value = serde_json::from_str(&info)?;
    ensure!(info["usage"]["processes"].as_u64() > Some(1), "{info}");
    ensure!(info["snapshots"][0]["name"] == "initial-state", "{info}");
    Ok(())
}

pub fn events_report_changes(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let mut child = workspace.command(&["--json", "events"])?.spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let mut ready = false;
    let mut stopped = false;
    for line in lines {
        let event: Value = serde_json::from_str(&line?)?;
        if event["patch"]["kind"] == "ready" {
            ready = true;
            workspace.ok(&["down", "dev"])?;
        }
        stopped = ready && event["patch"]["env"]["status"] == "stopped";
        if stopped {
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    ensure!(stopped, "no event for the stop");
    Ok(())
}

pub fn ssh_config_block_works(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let block = workspace.ok(&["ssh-config", "dev"])?;
    let path = workspace.root.path().join("config");
    std::fs::write(&path, &block)?;
    let host = format!("dev.{}.ldm", workspace.project);
    let ssh = || -> Result<std::process::Output> {
        let mut command = std::process::Command::new("ssh");
        command
            .arg("-F")
            .arg(&path)
            .args(["-o", "BatchMode=yes", &host, "id -un; hostname"]);
        // In another environment, such as an editor's.
        let known = ["PATH", "HOME", "LANG"];
        let variables = workspace.variables().into_iter();
        let variables = variables.filter(|(name, _)| known.contains(name));
        command.env_clear().envs(variables);
        Ok(command.output()?)
    };
    let output = ssh()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        text == format!("dev\n{}-dev\n", workspace.project),
        "{output:?}"
    );
    // Another host key than the one from the engine is rejected.
    let swap = "ssh-keygen -q -t ed25519 -N '' -f /tmp/k <<<y >/dev/null; \
                sudo cp /tmp/k /etc/ssh/other; \
                echo 'HostKey /etc/ssh/other' | sudo tee /etc/ssh/sshd_config.d/00-x.conf; \
                sudo systemctl restart ssh";
    workspace.ok(&["exec", "dev", "--", "bash", "-c", swap])?;
    let output = ssh()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{output:?}");
    ensure!(text.contains("Host key verification failed"), "{text}");
    Ok(())
}

pub fn generates_completions_and_manual_pages(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    for shell in ["bash", "zsh", "fish"] {
        let text = workspace.ok(&["completions", shell])?;
        ensure!(text.contains("ssh-config"), "{shell}");
    }
    workspace.ok(&["man"])?;
    let page = workspace
        .directory()
        .join("lxc-dev-manager-container-clone.1");
    let page = std::fs::read_to_string(page)?;
    ensure!(page.contains("snapshot"), "{page}");
    Ok(())
}

pub fn doctor_reports_findings(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let said = workspace.ok(&["doctor"])?;
    for words in [
        "responds at",
        "storage: pool `default` is btrfs",
        "network: bridge `ldmt",
        "state:",
    ] {
        ensure!(said.contains(words), "no {words:?}: {said}");
    }
    let mut command = workspace.command(&["--json", "doctor"])?;
    command.env(engine.variable(), "/nowhere.sock");
    let output = command.output()?;
    ensure!(output.status.code() == Some(3), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout)?;
    let findings = json["findings"].as_array().context("no findings")?;
    let bad = findings
        .iter()
        .find(|finding| finding["level"] == "bad")
        .context("no bad finding")?;
    ensure!(
        bad["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("install")),
        "{bad}"
    );
    ensure!(json.to_string().contains("/nowhere.sock"), "{json}");
    Ok(())
}

pub fn preferences_take_effect(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.ok(&["container", "create", "dev", "ldm-busybox"])?;
    let shown = workspace.ok(&["config", "show"])?;
    ensure!(shown.contains("undo.max_share = 20"), "{shown}");
    ensure!(shown.contains("undo.on_dir = false"), "{shown}");
    for (name, value) in [("undo.max_share", "101"), ("undo.on_dir", "2")] {
        let refused = workspace.run(&["config", "set", name, value])?;
        ensure!(refused.code == Some(1), "{refused:?}");
    }
    let unknown = workspace.run(&["config", "set", "undo", "1"])?;
    ensure!(unknown.code == Some(2), "{unknown:?}");
    let undoable = || -> Result<Option<bool>> {
        let json = workspace.ok(&["--json", "container", "reset", "dev"])?;
        let json: Value = serde_json::from_str(&json)?;
        Ok(json["undoable"].as_bool())
    };
    ensure!(undoable()? == Some(true), "no undo copy on btrfs");
    // Below the pool usage, so that the size of undo copies is measured.
    workspace.ok(&["config", "set", "undo.max_share", "1"])?;
    ensure!(undoable()? == Some(true), "newest undo copy not kept");
    workspace.ok(&["config", "set", "undo.max_share", "0"])?;
    let json: Value = serde_json::from_str(&workspace.ok(&["--json", "config", "show"])?)?;
    ensure!(json["preferences"]["undo.max_share"] == 0, "{json}");
    ensure!(undoable()? == Some(false), "undo copy created");
    let refused = workspace.run(&["remove", "dev"])?;
    ensure!(refused.stderr.contains("undo.max_share"), "{refused:?}");
    Ok(())
}
