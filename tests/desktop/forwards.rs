//! Forwards in the tray: the app takes over from a command, moves the focus, and gives back.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::desktop::screen::Screen;
use lxc_dev_manager_tests::desktop::tray::{Tray, find};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::stage::{Stage, TIMEOUT};

/// Until the shared port is answered by this env.
async fn answered_by(stage: &Stage, env: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let last = stage.ask();
        match &last {
            Ok(name) if name == env => return Ok(()),
            _ if begun.elapsed() > TIMEOUT => bail!("{env}: {last:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub fn the_app_takes_over_and_moves_the_focus(engine: &TestEngine) -> Result<()> {
    super::scenes::run(async {
        let stage = Stage::new(engine, &["a", "b"])?;
        let _services = [
            stage.service("a", "127.0.0.1")?,
            stage.service("b", "127.0.0.1")?,
        ];
        let _proxy = stage.proxy(&["a"])?;
        answered_by(&stage, "a").await?;
        let port = stage.port;

        let screen = Screen::new()?;
        let mut tray = Tray::on(&screen.address).await?;
        let mut app = screen.app(&stage.workspace)?;
        let mut menu = tray.menu().await?;
        let item = format!("Port {port}");
        let focus = ["●  b", item.as_str(), "Give it the focus"];
        // Each comes when it is known: which is the last differs.
        let star = format!("Port {port} ★");
        let open = ["●  a", star.as_str(), "Open in the browser"];
        let shown = menu
            .until("the ports of both", |shown| {
                find(shown, &focus).is_some() && find(shown, &open).is_some()
            })
            .await?;
        answered_by(&stage, "a").await?;

        menu.press(&shown, &focus).await?;
        let starred = format!("Port {port} ★");
        let shown = menu
            .until("the star", |shown| {
                find(shown, &["●  b", &starred]).is_some()
            })
            .await?;
        answered_by(&stage, "b").await?;

        // The command has kept its lease, and forwards again when the app has gone.
        menu.press(&shown, &["Quit"]).await?;
        ensure!(app.ended()?, "the app failed");
        answered_by(&stage, "b").await
    })
}
