//! Consent to a project's file in the window.

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::desktop::screen::Screen;
use lxc_dev_manager_tests::desktop::tray::Tray;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

use super::scenes::run;
use super::window::Window;

pub fn consent_is_given_in_the_window(engine: &TestEngine) -> Result<()> {
    run(async {
        let workspace = Workspace::new(engine)?;
        let screen = Screen::new()?;
        let _tray = Tray::on(&screen.address).await?;
        let _app = screen.app(&workspace)?;
        let window = Window::open(&screen, &workspace).await?;
        // A pull has brought a file that reaches this machine.
        let project = &workspace.project;
        let path = workspace.directory().join("containers.yaml");
        std::fs::write(
            &path,
            format!(
                "project: {project}\ndefaults: {{env: [TOKEN], mounts: [{{host: /, guest: /h}}]}}\n\
                 containers: {{dev: {{image: x}}}}\n"
            ),
        )?;
        let token = "passes on the variable TOKEN";
        window.says("[data-testid=trust]", token).await?;
        window
            .says("[data-testid=trust]", "mounts / at /h, writable")
            .await?;
        window.picture("consent").await?;
        // The root directory is not among what a simple consent allows.
        window.press("[data-testid=trust-allow]").await?;
        window.gone("[data-testid=trust-allow]").await?;
        let shown = workspace.ok(&["trust", "--show"])?;
        ensure!(
            shown.contains(&format!("{token} in `dev` (trusted)")),
            "{shown}"
        );
        ensure!(shown.contains("(not trusted, needs --force)"), "{shown}");
        window.press("[data-testid=trust-allow-all]").await?;
        window.gone("[data-testid=trust]").await?;
        let shown = workspace.ok(&["trust", "--show"])?;
        ensure!(!shown.contains("not trusted"), "{shown}");
        window.close().await
    })
}
