//! The app's process: engine room, living view, control socket, tray.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lxc_dev_manager_core::assemble;
use lxc_dev_manager_core::control::{self, Client, Holder, Request, Role};
use lxc_dev_manager_core::watch::Watch;
use tauri::{AppHandle, RunEvent};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::host::Desktop;
use crate::{notice, tray};

/// How long operations that run may take to end when the app quits; recovery does the rest.
const DRAIN: Duration = Duration::from_secs(3);

/// Runs until Quit. A second start shows the first one's window and ends.
pub(crate) fn run(runtime: &Runtime) -> anyhow::Result<()> {
    let _entered = runtime.enter();
    let lookup = |name: &str| std::env::var_os(name);
    let home = assemble::home(&lookup)?;
    let Some(holder) = Holder::claim(&home)? else {
        return runtime.block_on(async {
            let (client, _) = Client::connect(&home, Role::Cli).await?;
            Ok(client.ask(Request::ShowWindow).await?)
        });
    };
    let engine = assemble::engine(&lookup)?;
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let watch = Watch::start(engine.clone(), &tasks, shutdown.clone());
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_shell::init())
        .build(tauri::generate_context!())
        .context("the desktop can't be used")?;
    let desktop = Arc::new(Desktop::new(
        engine.clone(),
        watch.clone(),
        app.handle().clone(),
        tasks.clone(),
    ));
    tray::build(app.handle(), desktop.clone()).context("the tray can't be made")?;
    tasks.spawn(control::serve(
        holder,
        desktop.clone(),
        tasks.clone(),
        shutdown.clone(),
    ));
    tasks.spawn(tray::follow(
        app.handle().clone(),
        watch.clone(),
        shutdown.clone(),
    ));
    tasks.spawn(notice::follow(watch, shutdown.clone()));
    tasks.spawn(mend(engine));
    runtime.spawn(quit_when_asked(app.handle().clone()));
    tasks.close();
    // Returns, while `run` would end the process with operations under way.
    let code = app.run_return(|_, event| {
        // Only the exit that the last window asks for (there is none here); Quit has a code.
        if let RunEvent::ExitRequested {
            code: None, api, ..
        } = event
        {
            api.prevent_exit();
        }
    });
    tracing::debug!(code, "quitting");
    shutdown.cancel();
    runtime.block_on(async {
        if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
            tracing::warn!("an operation still runs; the next start mends what it leaves");
        }
    });
    Ok(())
}

async fn mend(engine: Arc<lxc_dev_manager_core::engine::Engine>) {
    if let Err(error) = engine.recover().await {
        tracing::warn!(?error, "interrupted operations could not be mended");
    }
}

async fn quit_when_asked(app: AppHandle) {
    let asked = async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        std::io::Result::Ok(())
    };
    match asked.await {
        Ok(()) => app.exit(0),
        Err(error) => tracing::warn!(%error, "signals can't be heard"),
    }
}
