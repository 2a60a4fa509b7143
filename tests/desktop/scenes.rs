//! User scenarios with the app.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::desktop::screen::{App, Screen};
use lxc_dev_manager_tests::desktop::tray::{Entry, Tray, find};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

use super::window::Window;

pub fn run(scene: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(scene)
}

/// Writes two versions of a file, with a snapshot in between.
fn with_two_notes(workspace: &Workspace) -> Result<()> {
    workspace.ok(&["exec", "dev", "--", "sh", "-c", "echo one > note"])?;
    workspace.ok(&["container", "snapshot", "create", "dev", "before"])?;
    workspace
        .ok(&["exec", "dev", "--", "sh", "-c", "echo two > note"])
        .map(drop)
}

fn note(workspace: &Workspace) -> Result<String> {
    workspace.ok(&["exec", "dev", "--", "cat", "note"])
}

fn write_program(path: &Path, script: &str) -> Result<()> {
    std::fs::write(path, script)?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    Ok(std::fs::set_permissions(path, executable)?)
}

/// Waits for a file and returns its content.
async fn text_of(path: &Path) -> Result<String> {
    let begun = Instant::now();
    while !path.exists() {
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "not written: {path:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(std::fs::read_to_string(path)?)
}

pub fn restore_from_the_tray(engine: &TestEngine) -> Result<()> {
    run(async {
        let workspace = Workspace::bare(engine)?;
        let screen = Screen::new()?;
        let mut tray = Tray::on(&screen.address).await?;
        let mut app = screen.app(&workspace)?;
        let mut menu = tray.menu().await?;
        menu.until("an empty menu", |shown| {
            find(shown, &["No projects yet"]).is_some()
        })
        .await?;

        // Changes by another process reach the tray through registry and engine.
        workspace.ok(&["create", "-n", &workspace.project, "-p", "8000"])?;
        workspace.create("dev")?;
        menu.until("the new env", |shown| {
            find(shown, &["●  dev · 8000"]).is_some()
        })
        .await?;
        with_two_notes(&workspace)?;
        let restore = ["●  dev", "Restore", "before ·"];
        let shown = menu
            .until("the snapshot", |shown| find(shown, &restore).is_some())
            .await?;

        menu.press(&shown, &restore).await?;
        menu.until("restoring", |shown| {
            find(shown, &["◐  dev · restoring"]).is_some()
        })
        .await?;
        let undo = ["●  dev", "Undo restore of"];
        let shown = menu
            .until("its end", |shown| find(shown, &undo).is_some())
            .await?;
        ensure!(note(&workspace)? == "one\n", "file not restored");
        let received =
            tokio::time::timeout(Duration::from_secs(10), tray.notifications.recv()).await?;
        ensure!(
            received.as_deref() == Some("Restored dev to before"),
            "{received:?}"
        );

        menu.press(&shown, &undo).await?;
        menu.until("undoing", |shown| {
            find(shown, &["◐  dev · undoing"]).is_some()
        })
        .await?;
        menu.until("its end", |shown| find(shown, &["●  dev"]).is_some())
            .await?;
        ensure!(note(&workspace)? == "two\n", "restore not undone");

        let shown = menu.until("stop entry", |shown| {
            find(shown, &["●  dev", "Stop"]).is_some_and(|entry| entry.enabled)
        });
        let shown = shown.await?;
        menu.press(&shown, &["●  dev", "Stop"]).await?;
        let shown = menu
            .until("stopped", |shown| {
                find(shown, &["○  dev · stopped"]).is_some()
            })
            .await?;
        menu.press(&shown, &["○  dev", "Start"]).await?;
        let shown = menu
            .until("running", |shown| find(shown, &["●  dev"]).is_some())
            .await?;

        // Quit leaves the env running.
        menu.press(&shown, &["Quit"]).await?;
        ensure!(app.ended()?, "the app failed");
        ensure!(
            workspace.ok(&["list"])?.contains("RUNNING"),
            "the env was stopped"
        );
        Ok(())
    })
}

pub fn restore_from_the_page(engine: &TestEngine) -> Result<()> {
    run(async {
        let workspace = Workspace::new(engine)?;
        let screen = Screen::new()?;
        let mut tray = Tray::on(&screen.address).await?;
        // Without terminal emulators in PATH.
        let mut command = screen.command(&workspace, "lxc-dev-manager-desktop")?;
        let mut app = App::start(command.env("PATH", workspace.root.path()))?;
        let mut menu = tray.menu().await?;
        workspace.create("dev")?;
        with_two_notes(&workspace)?;

        let window = Window::open(&screen, &workspace).await?;
        window
            .press("[data-testid=env-row-dev][data-status=running]")
            .await?;
        window.press("[data-testid=restore-before]").await?;
        window
            .says("[data-testid=notification]", "Restored dev to before")
            .await?;
        ensure!(note(&workspace)? == "one\n", "file not restored");
        window.press("[data-testid=notification-undo]").await?;
        window
            .wait("[data-testid=env-row-dev][data-busy=undo]")
            .await?;
        window
            .wait("[data-testid=env-row-dev][data-status=running]:not([data-busy])")
            .await?;
        ensure!(note(&workspace)? == "two\n", "restore not undone");

        window.press("[data-testid=take-snapshot]").await?;
        window
            .wait("[data-testid=snapshot-name]")
            .await?
            .send_keys("from-the-page")
            .await?;
        window.press("[data-testid=snapshot-submit]").await?;
        window.wait("[data-testid=snapshot-from-the-page]").await?;
        let listed = workspace.ok(&["container", "snapshot", "list", "dev"])?;
        ensure!(listed.contains("from-the-page"), "{listed}");
        window.press("[data-testid=stop]").await?;
        window
            .wait("[data-testid=env-row-dev][data-status=stopped]")
            .await?;
        window.press("[data-testid=start]").await?;
        window
            .wait("[data-testid=env-row-dev][data-status=running]")
            .await?;

        // A second start raises the window.
        let mut second = screen.app(&workspace)?;
        ensure!(second.ended()?, "the second start failed");
        let mut command = screen.command(&workspace, "lxc-dev-manager-desktop")?;
        let mut second = App::start(command.arg("window"))?;
        ensure!(second.ended()?, "the second window failed");
        window.close().await?;

        // An action that cannot start shows a problem, which can be dismissed.
        let has_terminal = |shown: &[Entry]| find(shown, &["●  dev", "Terminal"]).is_some();
        let shown = menu.until("a terminal", has_terminal).await?;
        menu.press(&shown, &["●  dev", "Terminal"]).await?;
        let problem = ["▲  dev · no terminal", "Dismiss"];
        let shown = menu
            .until("a problem", |shown| find(shown, &problem).is_some())
            .await?;
        menu.press(&shown, &problem).await?;
        let shown = menu.until("none", has_terminal).await?;

        // The terminal runs the env's shell without the app's own variables.
        let received = workspace.root.path().join("received");
        let script = format!(
            "#!/bin/sh\n{{ echo \"$@\"; /usr/bin/env; }} >{0}.part; /bin/mv {0}.part {0}\n",
            received.display()
        );
        write_program(&workspace.root.path().join("xterm"), &script)?;
        menu.press(&shown, &["●  dev", "Terminal"]).await?;
        let received = text_of(&received).await?;
        ensure!(received.contains("lxc-dev-manager ssh dev"), "{received}");
        ensure!(!received.contains("GDK_GL"), "{received}");

        menu.press(&shown, &["Quit"]).await?;
        ensure!(app.ended()?, "the app failed");
        let socket = workspace.home().join("run/control.sock");
        ensure!(!socket.exists(), "control socket left over");
        Ok(())
    })
}

pub fn tray_starts_without_watcher_and_engine(engine: &TestEngine) -> Result<()> {
    run(async {
        let workspace = Workspace::new(engine)?;
        let screen = Screen::new()?;
        let mut command = screen.command(&workspace, "lxc-dev-manager-desktop")?;
        command.env(
            engine.variable(),
            workspace.root.path().join("nowhere.sock"),
        );
        let mut child = command.spawn()?;
        // The tray starts after the app, as at login.
        let mut tray = Tray::on(&screen.address).await?;
        let mut menu = tray.menu().await?;
        let is_unreachable = |shown: &[Entry]| {
            shown
                .iter()
                .any(|entry| entry.label.contains("unreachable"))
        };
        menu.until("the engine's absence", is_unreachable).await?;
        let status = std::process::Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill failed");
        let ended = tokio::task::spawn_blocking(move || child.wait()).await?;
        ensure!(
            ended.context("no end")?.success(),
            "SIGTERM did not end the app cleanly"
        );
        Ok(())
    })
}
