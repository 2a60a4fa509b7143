//! Memory and idle time of the desktop app, on a private screen and bus.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lxc_dev_manager_tests::desktop::screen::{App, Screen};
use lxc_dev_manager_tests::desktop::tray::{Tray, find};

use crate::processes::{memory, ticks, tree};
use crate::row::{Row, Section, Target};
use crate::stage::{ENVS, Stage};

/// MiB of the tray alone.
const TRAY_LIMIT: f64 = 55.0;
/// Delay between a change and the reading.
const SETTLE_DELAY: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(20);
const WINDOW_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub fn app(stage: &Stage) -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(stage))
}

async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let screen = Screen::new()?;
    let mut tray = Tray::on(&screen.address).await?;
    let mut command = screen.command(&stage.workspace, "lxc-dev-manager-desktop")?;
    // It would log that its window was killed.
    let app = App::start(command.env("LDM_LOG", "off"))?;
    let mut menu = tray.menu().await?;
    let has_envs = |shown: &[_]| {
        let has = |env: &&str| find(shown, &[&format!("●  {env}")]).is_some();
        ENVS.iter().all(has)
    };
    menu.until("the envs", has_envs).await?;
    let mut rows = Vec::new();
    let row = |what: &str, figure: String| Row::figure(Section::App, &stage.engine, what, figure);
    let settled = async || -> Result<(f64, String)> {
        tokio::time::sleep(SETTLE_DELAY).await;
        let mib = memory(app.id())?;
        let processes = tree(app.id())?.len();
        Ok((mib, format!("{mib:.1} MiB in {processes}")))
    };

    let (tray_memory, figure) = settled().await?;
    let tray_row = row("memory: tray only, window never opened", figure);
    rows.push(tray_row.with_target(tray_memory, Target::AtMost(TRAY_LIMIT), "MiB"));
    let before = ticks(&tree(app.id())?);
    tokio::time::sleep(IDLE).await;
    let idle = ticks(&tree(app.id())?) - before;
    let idle_row = row("ticks of CPU time in 20 s of idling", idle.to_string());
    rows.push(idle_row.with_target(idle as f64, Target::AtMost(0.0), ""));

    let shown = menu.entries().await?;
    menu.press(&shown, &["Open window"]).await?;
    let window = window(&app).await?;
    rows.push(row("memory: window open", settled().await?.1));
    close(&app, window).await?;
    rows.push(row("memory: window closed again", settled().await?.1));
    Ok(rows)
}

/// The window's process, once it has the web view's processes.
async fn window(app: &App) -> Result<u32> {
    let started = Instant::now();
    while started.elapsed() < WINDOW_TIMEOUT {
        let all = tree(app.id())?.into_iter();
        let below: Vec<u32> = all.filter(|pid| *pid != app.id()).collect();
        if below.len() >= 3 {
            return below.into_iter().min().context("no window");
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    bail!("no window opens")
}

/// Ends the window's process, like closing the window.
async fn close(app: &App, window: u32) -> Result<()> {
    let killed = Command::new("kill").arg(window.to_string()).status()?;
    ensure!(killed.success(), "cannot close the window");
    let started = Instant::now();
    while tree(app.id())?.len() > 1 {
        ensure!(started.elapsed() < WINDOW_TIMEOUT, "the window stays");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}
