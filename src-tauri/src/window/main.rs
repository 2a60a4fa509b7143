//! The window: a web view connected to the control socket.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

#[cfg(target_os = "linux")]
mod style;

use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lxc_dev_manager_core::control::{Client, Push, Request, Role};
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::view::{Action, ViewEvent};
use lxc_dev_manager_core::{Error, ErrorKind, ErrorReport, assemble};
use lxc_dev_manager_desktop::{process, programs};
use tauri::ipc::Channel;
use tauri::{AppHandle, Manager, State, WebviewUrl, WebviewWindow, WebviewWindowBuilder};
use tauri_plugin_shell::ShellExt;
use tokio::sync::mpsc;

/// Label of the only window.
const MAIN: &str = "main";
/// Time for a started app to respond.
const APP_START_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection to the app, replaced after a reconnect.
struct Link(Mutex<Arc<Client>>);

impl Link {
    async fn request(&self, request: Request) -> Result<(), ErrorReport> {
        let client = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let response = client.request(request).await;
        response.map(drop).map_err(|error| error.report())
    }
}

/// The event channel to the page.
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
    process::init_logging();
    process::exit_code(run())
}

/// Runs until the window is closed or the app quits.
fn run() -> anyhow::Result<ExitCode> {
    if let Some(argument) = std::env::args().nth(1) {
        anyhow::bail!("unknown argument {argument:?}: expected none");
    }
    process::require_display(&|name| std::env::var_os(name))?;
    let runtime = process::runtime()?;
    tauri::async_runtime::set(runtime.handle().clone());
    let home = assemble::home(&|name| std::env::var_os(name))?;
    let app = tauri::Builder::default()
        .plugin(tauri_plugin_shell::init())
        .manage(Listener::default())
        .invoke_handler(tauri::generate_handler![watch, act, trust, close_window])
        .setup(move |app| {
            start(app.handle(), home);
            Ok(())
        })
        .build(tauri::generate_context!())
        .context("cannot show window")?;
    let code = app.run_return(|_, _| {});
    Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Connects to the app and opens the window, unless one exists. Exits with a code on failure, because an error from
/// `setup` would panic.
fn start(app: &AppHandle, home: Home) {
    let connected = tauri::async_runtime::block_on(async {
        let connected = connect(app, &home).await?;
        #[cfg(target_os = "linux")]
        style::follow_system(app).await;
        Ok::<_, Error>(connected)
    });
    let opened = connected
        .map_err(anyhow::Error::from)
        .and_then(|connected| {
            let (client, pushed) = connected;
            app.manage(Link(Mutex::new(Arc::new(client))));
            open(app).context("cannot show window")?;
            Ok(pushed)
        });
    match opened {
        Ok(pushed) => drop(tauri::async_runtime::spawn(follow(
            app.clone(),
            home,
            pushed,
        ))),
        // The existing window was raised.
        Err(error) if is_already_open(&error) => app.exit(0),
        Err(error) => {
            tracing::error!("{error:#}");
            app.exit(1);
        }
    }
}

fn is_already_open(error: &anyhow::Error) -> bool {
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

/// Connects to the app as its window. Starts the app if needed.
async fn connect(app: &AppHandle, home: &Home) -> Result<(Client, mpsc::Receiver<Push>), Error> {
    let connection = match Client::connect(home, Role::Window).await {
        Err(error) if error.kind() == ErrorKind::Unreachable => start_app(app, home).await,
        done => done,
    };
    let (client, pushed) = connection?;
    client.request(Request::BeWindow).await?;
    Ok((client, pushed))
}

async fn start_app(app: &AppHandle, home: &Home) -> Result<(Client, mpsc::Receiver<Push>), Error> {
    let program = programs::find(programs::APP)?;
    // Without the plugin's pipes, because the app outlives the window.
    Command::from(app.shell().command(program))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| Error::new(ErrorKind::Io, "cannot start app").caused_by(error))?;
    let started = tokio::time::Instant::now();
    let mut interval = Duration::from_millis(10);
    loop {
        // Poll: the directory of the socket may not exist yet.
        tokio::time::sleep(interval).await;
        interval = (interval * 2).min(Duration::from_millis(200));
        match Client::connect(home, Role::Window).await {
            Err(error)
                if error.kind() == ErrorKind::Unreachable
                    && started.elapsed() < APP_START_TIMEOUT => {}
            done => return done,
        }
    }
}

/// Forwards messages of the app to the page. Reconnects after a lost connection; exits without the app.
async fn follow(app: AppHandle, home: Home, mut pushed: mpsc::Receiver<Push>) {
    loop {
        while let Some(message) = pushed.recv().await {
            handle(&app, message);
        }
        let Ok((client, new)) = Client::connect(&home, Role::Window).await else {
            break;
        };
        let link = app.state::<Link>();
        *link.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(client);
        pushed = new;
        let mut requests = vec![Request::BeWindow];
        requests.extend(app.state::<Listener>().channel().map(|_| Request::Watch));
        for request in requests {
            if let Err(error) = link.request(request).await {
                tracing::warn!(error.message, "cannot reconnect to app");
            }
        }
    }
    app.exit(0);
}

fn handle(app: &AppHandle, message: Push) {
    match message {
        Push::Event { event } => {
            // A reloading page requests the full view again.
            let channel = app.state::<Listener>().channel();
            if let Some(Err(error)) = channel.map(|channel| channel.send(event)) {
                tracing::debug!(%error, "page not available");
            }
        }
        // The view contains the forwards.
        Push::Forwards { .. } => {}
        Push::Raise => {
            if let Some(window) = app.get_webview_window(MAIN) {
                let raised = window.unminimize().and_then(|()| window.show());
                if let Err(error) = raised.and_then(|()| window.set_focus()) {
                    tracing::warn!(%error, "cannot raise window");
                }
            }
        }
    }
}

/// Sends the full view and its changes to the page.
#[tauri::command]
async fn watch(
    link: State<'_, Link>,
    listener: State<'_, Listener>,
    channel: Channel<ViewEvent>,
) -> Result<(), ErrorReport> {
    *listener.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(channel);
    link.request(Request::Watch).await
}

/// Runs an action to its end.
#[tauri::command]
async fn act(link: State<'_, Link>, action: Action) -> Result<(), ErrorReport> {
    link.request(Request::Act { action }).await
}

/// Allows parts of a project's file.
#[tauri::command]
async fn trust(link: State<'_, Link>, path: String, parts: Vec<String>) -> Result<(), ErrorReport> {
    link.request(Request::Trust { path, parts }).await
}

/// Closes the window.
#[tauri::command]
async fn close_window(window: WebviewWindow) -> Result<(), ErrorReport> {
    window.close().map_err(|error| {
        Error::new(ErrorKind::Internal, "cannot close window")
            .caused_by(error)
            .report()
    })
}
