//! What a user does with the app.

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

/// Writes into a file of the env and takes a snapshot in between.
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

fn place_program(path: &Path, script: &str) -> Result<()> {
    std::fs::write(path, script)?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    Ok(std::fs::set_permissions(path, executable)?)
}

/// What a file says once it is there.
async fn text_of(path: &Path) -> Result<String> {
    let begun = Instant::now();
    while !path.exists() {
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "{path:?} isn't written"
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
            find(shown, &["No project yet"]).is_some()
        })
        .await?;

        // A command line in another process: the tray hears of it from registry and engine.
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
        ensure!(note(&workspace)? == "one\n", "the file hasn't gone back");
        let told = tokio::time::timeout(Duration::from_secs(10), tray.notifications.recv()).await?;
        ensure!(
            told.as_deref() == Some("Restored dev to before"),
            "{told:?}"
        );

        menu.press(&shown, &undo).await?;
        menu.until("undoing", |shown| {
            find(shown, &["◐  dev · undoing"]).is_some()
        })
        .await?;
        menu.until("its end", |shown| find(shown, &["●  dev"]).is_some())
            .await?;
        ensure!(
            note(&workspace)? == "two\n",
            "the restore hasn't been undone"
        );

        let shown = menu.until("a way to stop", |shown| {
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

        // Quit ends the app and leaves the env running.
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
        // Without PATH it finds no terminal emulator.
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
        ensure!(note(&workspace)? == "one\n", "the file hasn't gone back");
        window.press("[data-testid=notification-undo]").await?;
        window
            .wait("[data-testid=env-row-dev][data-busy=undo]")
            .await?;
        window
            .wait("[data-testid=env-row-dev][data-status=running]:not([data-busy])")
            .await?;
        ensure!(
            note(&workspace)? == "two\n",
            "the restore hasn't been undone"
        );

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

        // A second start brings the window to the front and doesn't make another app.
        let mut second = screen.app(&workspace)?;
        ensure!(second.ended()?, "the second start failed");
        // So does a second window.
        let mut command = screen.command(&workspace, "lxc-dev-manager-desktop")?;
        let mut second = App::start(command.arg("window"))?;
        ensure!(second.ended()?, "the second window failed");
        window.close().await?;

        // What can't even begin is shown, and can be dismissed.
        let there = |shown: &[Entry]| find(shown, &["●  dev", "Terminal"]).is_some();
        let shown = menu.until("a terminal", there).await?;
        menu.press(&shown, &["●  dev", "Terminal"]).await?;
        let problem = ["▲  dev · there is no terminal", "Dismiss"];
        let shown = menu
            .until("a problem", |shown| find(shown, &problem).is_some())
            .await?;
        menu.press(&shown, &problem).await?;
        let shown = menu.until("none", there).await?;

        // With one there, it gets the env's shell, and nothing of what the app has set for itself.
        let told = workspace.root.path().join("told");
        let script = format!(
            "#!/bin/sh\n{{ echo \"$@\"; /usr/bin/env; }} >{0}.part; /bin/mv {0}.part {0}\n",
            told.display()
        );
        place_program(&workspace.root.path().join("xterm"), &script)?;
        menu.press(&shown, &["●  dev", "Terminal"]).await?;
        let told = text_of(&told).await?;
        ensure!(told.contains("lxc-dev-manager ssh dev"), "{told}");
        ensure!(!told.contains("GDK_GL"), "{told}");

        menu.press(&shown, &["Quit"]).await?;
        ensure!(app.ended()?, "the app failed");
        let socket = workspace.home().join("run/control.sock");
        ensure!(!socket.exists(), "the control socket was left behind");
        Ok(())
    })
}

pub fn the_tray_is_there_without_a_watcher_and_without_an_engine(
    engine: &TestEngine,
) -> Result<()> {
    run(async {
        let workspace = Workspace::new(engine)?;
        let screen = Screen::new()?;
        let mut command = screen.command(&workspace, "lxc-dev-manager-desktop")?;
        command.env(
            engine.variable(),
            workspace.root.path().join("nowhere.sock"),
        );
        let mut child = command.spawn()?;
        // The tray comes later than the app, as at login.
        let mut tray = Tray::on(&screen.address).await?;
        let mut menu = tray.menu().await?;
        let away = |shown: &[Entry]| {
            shown
                .iter()
                .any(|entry| entry.label.contains("doesn't answer"))
        };
        menu.until("the engine's absence", away).await?;
        let status = std::process::Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill failed");
        let ended = tokio::task::spawn_blocking(move || child.wait()).await?;
        ensure!(
            ended.context("no end")?.success(),
            "SIGTERM isn't an orderly end"
        );
        Ok(())
    })
}
