//! The window's process: one web view over the control socket.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

#[cfg(target_os = "linux")]
mod style;

use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lxc_dev_manager_core::control::{Client, Pushed, Request, Role};
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::view::{Action, ViewEvent};
use lxc_dev_manager_core::{Error, ErrorKind, ErrorReport, assemble};
use lxc_dev_manager_desktop::{process, programs};
use tauri::ipc::Channel;
use tauri::{AppHandle, Manager, State, WebviewUrl, WebviewWindow, WebviewWindowBuilder};
use tauri_plugin_shell::ShellExt;
use tokio::sync::mpsc;

/// Name of the only window.
const MAIN: &str = "main";
/// How long an app that we start may take until it answers.
const APP_START_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection to the app; another one after it was lost.
struct Link(Mutex<Arc<Client>>);

impl Link {
    async fn ask(&self, request: Request) -> Result<(), ErrorReport> {
        let client = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let answered = client.ask(request).await;
        answered.map(drop).map_err(|error| error.report())
    }
}

/// The page's end of the view: where events go.
#[derive(Default)]
struct Listener(Mutex<Option<Channel<ViewEvent>>>);

impl Listener {
    fn channel(&self) -> Option<Channel<ViewEvent>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn main() -> ExitCode {
    process::log();
    process::end(run())
}

/// Runs until the window is closed or the app quits.
fn run() -> anyhow::Result<ExitCode> {
    if let Some(argument) = std::env::args().nth(1) {
        anyhow::bail!("unknown argument {argument:?}: there is none");
    }
    process::require_display(&|name| std::env::var_os(name))?;
    let runtime = process::runtime()?;
    tauri::async_runtime::set(runtime.handle().clone());
    let home = assemble::home(&|name| std::env::var_os(name))?;
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_shell::init())
        .manage(Listener::default())
        .invoke_handler(tauri::generate_handler![watch, act, close_window])
        .setup(move |app| {
            begin(app.handle(), home);
            Ok(())
        })
        .build(tauri::generate_context!())
        .context("the window can't be shown")?;
    let code = app.run_return(|_, _| {});
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Joins the app and opens the window, unless there is one already. Where it fails, the process ends
/// with a code: what `setup` returns as an error would be a panic.
fn begin(app: &AppHandle, home: Home) {
    let joined = tauri::async_runtime::block_on(async {
        let joined = join(app, &home).await?;
        #[cfg(target_os = "linux")]
        style::begin(app).await;
        Ok::<_, Error>(joined)
    });
    let opened = joined.map_err(anyhow::Error::from).and_then(|joined| {
        let (client, pushed) = joined;
        app.manage(Link(Mutex::new(Arc::new(client))));
        open(app).context("the window can't be shown")?;
        Ok(pushed)
    });
    match opened {
        Ok(pushed) => drop(tauri::async_runtime::spawn(follow(
            app.clone(),
            home,
            pushed,
        ))),
        // The window that there is has come to the front.
        Err(error) if is_there_already(&error) => app.exit(0),
        Err(error) => {
            tracing::error!("{error:#}");
            app.exit(1);
        }
    }
}

fn is_there_already(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::AlreadyExists)
}

fn open(app: &AppHandle) -> tauri::Result<WebviewWindow> {
    WebviewWindowBuilder::new(app, MAIN, WebviewUrl::default())
        .title("LXC Dev Manager")
        .inner_size(1040.0, 640.0)
        .min_inner_size(760.0, 480.0)
        .build()
}

/// Connects to the app as its window; starts it where none runs.
async fn join(app: &AppHandle, home: &Home) -> Result<(Client, mpsc::Receiver<Pushed>), Error> {
    let connected = match Client::connect(home, Role::Window).await {
        Err(error) if error.kind() == ErrorKind::Unreachable => start_app(app, home).await,
        done => done,
    };
    let (client, pushed) = connected?;
    client.ask(Request::BeWindow).await?;
    Ok((client, pushed))
}

async fn start_app(
    app: &AppHandle,
    home: &Home,
) -> Result<(Client, mpsc::Receiver<Pushed>), Error> {
    let program = programs::find(programs::APP)?;
    // Without the pipes that the plugin would make: the app outlives us.
    Command::from(app.shell().command(program))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| Error::new(ErrorKind::Io, "the app can't be started").caused_by(error))?;
    let begun = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        // Its socket has no event of its own before its directory is there; somebody waits.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
        match Client::connect(home, Role::Window).await {
            Err(error)
                if error.kind() == ErrorKind::Unreachable
                    && begun.elapsed() < APP_START_TIMEOUT => {}
            done => return done,
        }
    }
}

/// Hands what the app says to the page. A connection that was lost because we fell behind is made
/// again; when the app is gone the window goes too.
async fn follow(app: AppHandle, home: Home, mut pushed: mpsc::Receiver<Pushed>) {
    loop {
        while let Some(said) = pushed.recv().await {
            take(&app, said);
        }
        let Ok((client, new)) = Client::connect(&home, Role::Window).await else {
            break;
        };
        let link = app.state::<Link>();
        *link.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(client);
        pushed = new;
        let mut wishes = vec![Request::BeWindow];
        wishes.extend(app.state::<Listener>().channel().map(|_| Request::Watch));
        for wish in wishes {
            if let Err(error) = link.ask(wish).await {
                tracing::warn!(error.message, "the app doesn't take us back");
            }
        }
    }
    app.exit(0);
}

fn take(app: &AppHandle, said: Pushed) {
    match said {
        Pushed::Event(event) => {
            // A page that reloads asks for the whole view again.
            let channel = app.state::<Listener>().channel();
            if let Some(Err(error)) = channel.map(|channel| channel.send(event)) {
                tracing::debug!(%error, "the page isn't there");
            }
        }
        // Of those the view tells.
        Pushed::Forwards(_) => {}
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

/// Sends the whole view, and then what changes, to the page.
#[tauri::command]
async fn watch(
    link: State<'_, Link>,
    listener: State<'_, Listener>,
    channel: Channel<ViewEvent>,
) -> Result<(), ErrorReport> {
    *listener.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    link.ask(Request::Watch).await
}

/// Carries an action out; resolves at its end.
#[tauri::command]
async fn act(link: State<'_, Link>, action: Action) -> Result<(), ErrorReport> {
    link.ask(Request::Act { action }).await
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
