//! The window's process: one web view over the control socket.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lxc_dev_manager_core::control::{Client, Pushed, Request, Role};
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::view::{Action, ViewEvent};
use lxc_dev_manager_core::{Error, ErrorKind, ErrorReport, assemble};
use tauri::ipc::Channel;
use tauri::{AppHandle, Manager, State, WebviewUrl, WebviewWindow, WebviewWindowBuilder};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::launch;

/// Name of the only window.
const MAIN: &str = "main";
/// How long an app that we start may take until it answers.
const APP_PATIENCE: Duration = Duration::from_secs(10);

/// The page's end of the view: where events go.
#[derive(Default)]
struct Listener(Mutex<Option<Channel<ViewEvent>>>);

/// Runs until the window is closed or the app quits.
pub(crate) fn run(runtime: &Runtime) -> anyhow::Result<()> {
    let home = assemble::home(&|name| std::env::var_os(name))?;
    let (client, pushed) = runtime.block_on(connect(&home))?;
    tauri::Builder::default()
        .manage(client)
        .manage(Listener::default())
        .invoke_handler(tauri::generate_handler![watch, act, close_window])
        .setup(move |app| {
            open(app.handle())?;
            tauri::async_runtime::spawn(follow(app.handle().clone(), pushed));
            Ok(())
        })
        .run(tauri::generate_context!())
        .context("the window can't be shown")
}

fn open(app: &AppHandle) -> tauri::Result<WebviewWindow> {
    WebviewWindowBuilder::new(app, MAIN, WebviewUrl::default())
        .title("LXC Dev Manager")
        .inner_size(1040.0, 640.0)
        .min_inner_size(760.0, 480.0)
        .build()
}

/// Connects to the app, and starts it where none runs.
async fn connect(home: &Home) -> anyhow::Result<(Client, mpsc::Receiver<Pushed>)> {
    match Client::connect(home, Role::Window).await {
        Err(error) if error.kind() == ErrorKind::Unreachable => {}
        done => return Ok(done?),
    }
    Command::new(launch::this_program()?)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("the app can't be started")?;
    let begun = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        // Its socket has no event of its own before its directory is there; somebody waits.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
        match Client::connect(home, Role::Window).await {
            Err(error)
                if error.kind() == ErrorKind::Unreachable && begun.elapsed() < APP_PATIENCE => {}
            done => return Ok(done?),
        }
    }
}

/// Hands what the app says to the page. When the app is gone the window goes too.
async fn follow(app: AppHandle, mut pushed: mpsc::Receiver<Pushed>) {
    while let Some(said) = pushed.recv().await {
        match said {
            Pushed::Event(event) => {
                let listener = app.state::<Listener>();
                let channel = listener
                    .0
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                // A page that reloads asks for the whole view again.
                if let Some(Err(error)) = channel.map(|channel| channel.send(event)) {
                    tracing::debug!(%error, "the page isn't there");
                }
            }
            Pushed::Raise => {
                if let Some(window) = app.get_webview_window(MAIN) {
                    let raised = window.unminimize().and_then(|()| window.show());
                    if let Err(error) = raised.and_then(|()| window.set_focus()) {
                        tracing::warn!(%error, "the window can't come to the front");
                    }
                }
            }
        }
    }
    app.exit(0);
}

/// Sends the whole view, and then what changes, to the page.
#[tauri::command]
async fn watch(
    client: State<'_, Client>,
    listener: State<'_, Listener>,
    channel: Channel<ViewEvent>,
) -> Result<(), ErrorReport> {
    *listener.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    client
        .ask(Request::Watch)
        .await
        .map_err(|error| error.report())
}

/// Carries an action out; resolves at its end.
#[tauri::command]
async fn act(client: State<'_, Client>, action: Action) -> Result<(), ErrorReport> {
    client
        .ask(Request::Act { action })
        .await
        .map_err(|error| error.report())
}

/// Closes the window.
#[tauri::command]
async fn close_window(window: WebviewWindow) -> Result<(), ErrorReport> {
    window.close().map_err(|error| {
        Error::new(ErrorKind::Internal, "the window can't be closed")
            .caused_by(error)
            .report()
    })
}
