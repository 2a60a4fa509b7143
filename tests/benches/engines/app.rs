//! The desktop app on a screen and a bus of its own: memory, idling, and how soon things show.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lxc_dev_manager_core::model::InstanceName;
use lxc_dev_manager_tests::desktop::screen::{App, Screen};
use lxc_dev_manager_tests::desktop::tray::{Menu, Tray, find};
use lxc_dev_manager_tests::workspace::program;

use crate::memory::{Memory, settled, sharers, ticks, tree};
use crate::pairs::Spread;
use crate::row::{Part, Row, Verdict};
use crate::stage::Stage;

/// MiB of the tray alone.
const TRAY_LIMIT: f64 = 55.0;
/// Time between what happened and the first reading.
const BEFORE_READING: Duration = Duration::from_secs(10);
/// How long idling is watched.
const IDLE: Duration = Duration::from_secs(20);
/// How often the app is started, and how often an env is stopped to see when the menu shows it.
const TIMES: usize = 5;

/// All rows of the app.
pub fn app(stage: &Stage) -> Result<Vec<Row>> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(measure(stage))
}

async fn measure(stage: &Stage) -> Result<Vec<Row>> {
    let screen = Screen::new()?;
    let mut tray = Tray::on(&screen.address).await?;
    let mut starts = Vec::new();
    for _ in 1..TIMES {
        let (app, _, taken) = start(stage, &screen, &mut tray).await?;
        starts.push(taken);
        drop(app);
    }
    let (app, mut menu, taken) = start(stage, &screen, &mut tray).await?;
    starts.push(taken);

    // To sleep is to measure here: the memory of an app that has settled, and an idle one's time.
    tokio::time::sleep(BEFORE_READING).await;
    let quiet = settled(app.id())?;
    let others = sharers(app.id(), "libgtk-3.so")?;
    let before = ticks(app.id())?;
    tokio::time::sleep(IDLE).await;
    let idle = ticks(app.id())? - before;

    let shown = menu.entries().await?;
    menu.press(&shown, &["Open window"]).await?;
    let window = window(&app).await?;
    tokio::time::sleep(BEFORE_READING).await;
    let open = settled(app.id())?;
    close(&app, window).await?;
    tokio::time::sleep(BEFORE_READING).await;
    let closed = settled(app.id())?;
    let changes = changes(stage, &mut menu).await?;

    let engine = &stage.engine;
    let seconds = |values: &[f64]| Spread::of(values).seconds();
    let mut rows = vec![
        alone(engine, &quiet, others),
        memory(engine, "window open", &open),
        memory(engine, "window closed again", &closed),
        Row {
            wanted: "0".to_owned(),
            verdict: if idle == 0 {
                Verdict::Reached
            } else {
                Verdict::Missed
            },
            ..figure(
                engine,
                "ticks of CPU time in 20 s of idling",
                idle.to_string(),
            )
        },
        figure(
            engine,
            "start until the tray's menu can be read",
            seconds(&starts),
        ),
        figure(
            engine,
            "an env stopped until the menu shows it",
            seconds(&changes),
        ),
    ];
    for name in [
        "lxc-dev-manager",
        "lxc-dev-manager-desktop",
        "lxc-dev-manager-window",
    ] {
        let size = std::fs::metadata(program(name)?)?.len() as f64 / 1024.0 / 1024.0;
        rows.push(figure(
            "",
            &format!("size of `{name}`"),
            format!("{size:.1} MiB"),
        ));
    }
    Ok(rows)
}

fn figure(engine: &str, what: &str, ours: String) -> Row {
    Row::figure(Part::App, engine, what, ours)
}

/// The row of the tray alone. Beside other programs of the same library it reaches anything.
fn alone(engine: &str, quiet: &Memory, others: usize) -> Row {
    let reached = Verdict::below(quiet.pss, TRAY_LIMIT);
    let shared = others > 0 && reached == Verdict::Reached;
    let note = format!(
        "{:.1} MiB of it are written pages; {:.1} MiB if nobody shared any; {others} other processes \
         had mapped the same GTK",
        quiet.dirty, quiet.rss
    );
    let row = memory(engine, "tray only, window never opened", quiet);
    Row {
        wanted: format!("≤ {TRAY_LIMIT:.0}"),
        verdict: if shared { Verdict::Unmeasured } else { reached },
        note: Some(
            [row.note.clone(), Some(note)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        ),
        ..row
    }
}

fn memory(engine: &str, what: &str, memory: &Memory) -> Row {
    let Memory {
        pss,
        processes,
        settled,
        ..
    } = memory;
    let figure = format!("{pss:.1} MiB in {processes}");
    let note = (!settled).then(|| "it never settled; this is the last reading".to_owned());
    Row::figure(Part::Memory, engine, what, figure).noting(note)
}

/// Starts the app; how many seconds until its menu can be read. Returns when the envs are in it.
async fn start(stage: &Stage, screen: &Screen, tray: &mut Tray) -> Result<(App, Menu, f64)> {
    let begun = Instant::now();
    let mut command = screen.command(&stage.workspace, "lxc-dev-manager-desktop")?;
    // It would say that its window was ended by a signal.
    let app = App::start(command.env("LDM_LOG", "off"))?;
    let mut menu = tray.menu().await?;
    menu.entries().await?;
    let taken = begun.elapsed().as_secs_f64();
    let all = |shown: &[_]| {
        crate::stage::ENVS
            .iter()
            .all(|env| find(shown, &[&format!("●  {env}")]).is_some())
    };
    menu.until("the envs", all).await?;
    Ok((app, menu, taken))
}

/// The window's process, once it has its web view's processes.
async fn window(app: &App) -> Result<u32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        let below: Vec<u32> = tree(app.id())?
            .into_iter()
            .filter(|pid| *pid != app.id())
            .collect();
        // The window itself, and the web view's processes below it.
        if below.len() >= 3 {
            return below.into_iter().min().context("no window");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("no window opens")
}

/// Ends the window's process, as closing the window does.
async fn close(app: &App, window: u32) -> Result<()> {
    let asked = Command::new("kill").arg(window.to_string()).status()?;
    ensure!(asked.success(), "the window can't be closed");
    let begun = Instant::now();
    while tree(app.id())?.len() > 1 {
        ensure!(
            begun.elapsed() < Duration::from_secs(20),
            "the window stays"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Seconds from when the engine has stopped an env until the menu says so.
async fn changes(stage: &Stage, menu: &mut Menu) -> Result<Vec<f64>> {
    let backend = stage.workspace.engine().backend();
    let name: InstanceName = stage.instance("main").parse()?;
    let mut taken = Vec::new();
    for _ in 0..TIMES {
        backend.stop(&name, true).await?;
        let begun = Instant::now();
        menu.until("it is stopped", |shown| find(shown, &["○  main"]).is_some())
            .await?;
        taken.push(begun.elapsed().as_secs_f64());
        backend.start(&name).await?;
        menu.until("it runs", |shown| find(shown, &["●  main"]).is_some())
            .await?;
    }
    Ok(taken)
}
