//! Forwards in the tray: takeover from a CLI process, default target, and handover back.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::desktop::screen::Screen;
use lxc_dev_manager_tests::desktop::tray::{Tray, find};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::stage::{Stage, TIMEOUT};

/// Waits until this env responds on the shared port.
async fn until_response_from(stage: &Stage, env: &str) -> Result<()> {
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

pub fn app_takes_over_and_changes_default_target(engine: &TestEngine) -> Result<()> {
    super::scenes::run(async {
        let stage = Stage::new(engine, &["a", "b"])?;
        let _services = [
            stage.service("a", "127.0.0.1")?,
            stage.service("b", "127.0.0.1")?,
        ];
        let _proxy = stage.proxy(&["a"])?;
        until_response_from(&stage, "a").await?;
        let port = stage.port;

        let screen = Screen::new()?;
        let mut tray = Tray::on(&screen.address).await?;
        let mut app = screen.app(&stage.workspace)?;
        let mut menu = tray.menu().await?;
        let item = format!("Port {port}");
        let focus = ["●  b", item.as_str(), "Make default target"];
        // The entries may appear in any order.
        let star = format!("Port {port} ★");
        let open = ["●  a", star.as_str(), "Open in browser"];
        let shown = menu
            .until("the ports of both", |shown| {
                find(shown, &focus).is_some() && find(shown, &open).is_some()
            })
            .await?;
        until_response_from(&stage, "a").await?;

        menu.press(&shown, &focus).await?;
        let starred = format!("Port {port} ★");
        let shown = menu
            .until("the star", |shown| {
                find(shown, &["●  b", &starred]).is_some()
            })
            .await?;
        until_response_from(&stage, "b").await?;

        // The CLI process kept its lease and forwards again.
        menu.press(&shown, &["Quit"]).await?;
        ensure!(app.ended()?, "the app failed");
        until_response_from(&stage, "b").await
    })
}
