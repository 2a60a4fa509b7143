//! First steps of a new user, with the complete output.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::Workspace;

/// Records the output of commands without values that vary between runs.
struct Transcript<'a> {
    workspace: &'a Workspace,
    text: String,
}

impl Transcript<'_> {
    fn run(&mut self, arguments: &[&str]) -> Result<()> {
        let ran = self.workspace.run(arguments)?;
        let code = ran
            .code
            .map_or("signal".to_owned(), |code| code.to_string());
        self.text
            .push_str(&format!("$ lxc-dev-manager {}\n", arguments.join(" ")));
        self.text.push_str(&ran.stdout);
        // Unpacking is reported only if it takes long.
        for line in ran.stderr.lines().filter(|line| *line != "unpacking") {
            self.text.push_str(&format!("2> {line}\n"));
        }
        self.text.push_str(&format!("[{code}]\n\n"));
        Ok(())
    }

    fn check(&self, name: &str) -> Result<()> {
        let directory = self
            .workspace
            .directory()
            .canonicalize()?
            .display()
            .to_string();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("snapshots");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter(&directory, "[DIRECTORY]");
        settings.add_filter(&self.workspace.project, "webapp");
        settings.add_filter(r"\d+\.\d+\.\d+\.\d+", "[IP]");
        settings.add_filter(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "[TIME]");
        settings.add_filter(r"\b(LXD|Incus)\b", "[ENGINE]");
        settings.add_filter(r#""(lxd|incus)""#, r#""[engine]""#);
        settings.add_filter(r"/\S+/unix\.socket", "[SOCKET]");
        settings.add_filter(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[UUID]");
        // The column width depends on the address.
        settings.add_filter(r"(?m)^(NAME .*IP) +PORTS$", "$1 PORTS");
        settings.add_filter(r"\[IP\] +8000", "[IP] 8000");
        settings.bind(|| insta::assert_snapshot!(name, self.text));
        Ok(())
    }
}

pub fn tour_from_create_to_undo(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    let mut seen = Transcript {
        workspace: &workspace,
        text: String::new(),
    };
    let image = image();
    let project = workspace.project.clone();
    seen.run(&["list"])?;
    seen.run(&["create", "-n", &project, "-p", "8000"])?;
    seen.run(&["create"])?;
    seen.run(&["list"])?;
    seen.run(&["container", "create", "dev", &image])?;
    seen.run(&["list"])?;
    seen.run(&["exec", "dev", "--", "sh", "-c", "echo one > note"])?;
    seen.run(&[
        "container",
        "snapshot",
        "create",
        "dev",
        "before",
        "-d",
        "One note",
    ])?;
    seen.run(&["container", "snapshot", "create", "dev", "before"])?;
    seen.run(&["exec", "dev", "--", "sh", "-c", "echo two > note"])?;
    seen.run(&["container", "snapshot", "list", "dev"])?;
    seen.run(&["container", "reset", "dev", "before"])?;
    seen.run(&["exec", "dev", "--", "cat", "note"])?;
    seen.run(&["undo"])?;
    seen.run(&["exec", "dev", "--", "cat", "note"])?;
    seen.run(&["down", "dev"])?;
    seen.run(&["down", "dev"])?;
    seen.run(&["exec", "dev", "--", "true"])?;
    seen.run(&["list", "--json"])?;
    seen.run(&["up", "dev"])?;
    seen.run(&["up", "dev", "--json"])?;
    seen.run(&["container", "snapshot", "delete", "dev", "before"])?;
    seen.run(&["container", "snapshot", "delete", "dev", "initial-state"])?;
    seen.run(&["container", "reset", "dev", "nope"])?;
    seen.run(&["remove", "dev", "-f"])?;
    seen.run(&["list"])?;
    seen.check("tour")
}

/// The file lists an env that does not exist on this host.
pub fn up_creates_envs_of_the_file(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::bare(engine)?;
    let text = format!(
        "# ours\nproject: {}\ncontainers:\n  dev: # the usual one\n    image: {}\n    ports: []\n",
        workspace.project,
        image()
    );
    std::fs::write(workspace.directory().join("containers.yaml"), &text)?;
    let listed = workspace.ok(&["list"])?;
    ensure!(listed.contains("NOT FOUND"), "{listed}");
    let stopped = workspace.run(&["down", "dev"])?;
    ensure!(stopped.code == Some(1), "{stopped:?}");
    ensure!(
        stopped.stderr.contains("container create dev"),
        "{stopped:?}"
    );
    let made = workspace.run(&["up", "dev"])?;
    ensure!(made.code == Some(0), "{made:?}");
    ensure!(made.stderr.contains("creating it"), "{made:?}");
    let after = workspace.file()?;
    for line in text.lines() {
        ensure!(
            after.lines().any(|kept| kept == line),
            "{line:?} is gone:\n{after}"
        );
    }
    let listed = workspace.ok(&["list"])?;
    ensure!(listed.contains("RUNNING"), "{listed}");
    Ok(())
}

pub fn checkouts_do_not_change_each_other(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "snapshot", "create", "dev", "mine"])?;
    let second = workspace.root.path().join("second");
    std::fs::create_dir(&second)?;
    std::fs::write(second.join("containers.yaml"), workspace.file()?)?;
    let there = second.to_str().context("path is not UTF-8")?;
    let listed = workspace.ok(&["-C", there, "list"])?;
    let first = workspace.directory().canonicalize()?.display().to_string();
    let line = format!("dev was created in another checkout, {first}");
    ensure!(listed.contains(there) && listed.contains(&line), "{listed}");
    let snapshot = ["container", "snapshot", "create", "dev", "s"];
    std::fs::write(second.join("file"), "")?;
    for arguments in [
        &["remove", "-f", "dev"][..],
        &["rename", "dev", "two"],
        &["up", "dev"],
        &["down", "dev"],
        &["restart", "dev"],
        &["config", "apply", "dev"],
        &["container", "reset", "dev"],
        &snapshot,
        &["container", "snapshot", "delete", "dev", "mine"],
        &["image", "create", "dev", "published"],
        &["mv", "file", "dev:/tmp/"],
    ] {
        let refused = workspace.run(&[&["-C", there], arguments].concat())?;
        ensure!(refused.code == Some(1), "{arguments:?}: {refused:?}");
        ensure!(
            refused.stderr.contains(&first),
            "{arguments:?}: {refused:?}"
        );
    }
    workspace.ok(&["-C", there, "project", "delete", "-f"])?;
    workspace.ok(&["exec", "dev", "--", "true"]).map(drop)
}
