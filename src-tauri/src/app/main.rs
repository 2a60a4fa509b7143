//! The app: operations, view, control socket, tray.

mod host;
mod launch;
mod notice;
mod opengl;
mod tray;

use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::assemble;
use lxc_dev_manager_core::control::{self, Client, ControlSocket, Request, Role};
use lxc_dev_manager_core::forward::{Forwarding, Handover, Scope};
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::operations::Operations;
use lxc_dev_manager_desktop::{process, programs};
use tao::event::{Event, StartCause};
use tao::event_loop::{ControlFlow, EventLoop, EventLoopBuilder, EventLoopProxy};
use tao::platform::run_return::EventLoopExtRunReturn;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use host::Desktop;
use tray::{Tray, Wake};

/// Argument that starts the window instead of the app.
const WINDOW_ARGUMENT: &str = "window";
/// Time for another forwarder to step down.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(8);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);
/// Time for running operations to end at exit; recovery handles the rest.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    process::init_logging();
    process::exit_code(run())
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        [WINDOW_ARGUMENT] => return exec_window(),
        ref other => {
            anyhow::bail!("unknown arguments {other:?}: expected none or `{WINDOW_ARGUMENT}`")
        }
    }
    process::require_display(&|name| std::env::var_os(name))?;
    opengl::disable();
    let runtime = process::runtime()?;
    run_app(&runtime).map(|()| ExitCode::SUCCESS)
}

/// Replaces this process with the window.
fn exec_window() -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = Command::new(programs::find(programs::WINDOW)?).exec();
    Err(error).context("cannot start window")
}

/// Runs until Quit. If the app is already running, shows its window and returns.
fn run_app(runtime: &Runtime) -> anyhow::Result<()> {
    let _entered = runtime.enter();
    let lookup = |name: &str| std::env::var_os(name);
    let home = assemble::home(&lookup)?;
    if runtime.block_on(show_running(&home))? {
        return Ok(());
    }
    // Clients wait once the control socket is claimed, so slow and fallible steps come first.
    let operations = runtime.block_on(assemble::operations(&lookup, None))?;
    Forwarding::check(&home)?;
    operations.registry().all()?;
    let mut events = event_loop();
    let wakes = events.create_proxy();
    let Some(mut control_socket) = runtime.block_on(take_over(&home))? else {
        return Ok(());
    };
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let starting = Forwarding::start(&operations, &mut control_socket, &tasks, &shutdown);
    let (watch, forwarding) = runtime.block_on(starting)?;
    let lease = runtime.block_on(forwarding.lease(Scope::Answering))?;
    let (view, forwards) = (watch.clone(), forwarding.clone());
    let desktop = Desktop::new(operations.clone(), view, forwards, tasks.clone());
    let desktop = Arc::new(desktop);
    let end_answers = CancellationToken::new();
    let served = runtime.spawn(control::serve(
        control_socket,
        desktop.clone(),
        tasks.clone(),
        end_answers.clone(),
    ));
    tasks.spawn(notice::follow(watch.outcomes(), shutdown.clone()));
    tasks.spawn(recover(operations));
    runtime.spawn(quit_on_signal(wakes.clone()));

    let (mut tray, mut failed) = (None::<Tray>, None);
    // `run` would end the process with operations running.
    events.run_return(|event, _, flow| match event {
        // macOS accepts an icon only from here on.
        Event::NewEvents(StartCause::Init) => {
            *flow = ControlFlow::Wait;
            match Tray::new(desktop.clone(), wakes.clone()) {
                Ok(created) => {
                    tray = Some(created);
                    tasks.spawn(tray::follow(wakes.clone(), watch.view(), shutdown.clone()));
                }
                Err(error) => {
                    failed = Some(error.context("cannot create tray"));
                    *flow = ControlFlow::Exit;
                }
            }
        }
        Event::UserEvent(wake) if ends_app(tray.as_mut(), &wake) => *flow = ControlFlow::Exit,
        _ => {}
    });
    tracing::debug!("quitting");
    drop(tray);
    runtime.block_on(async {
        let served = async { served.await.ok() };
        let handover = forwarding
            .hand_over(&home, 1, false, end_answers, served)
            .await;
        shutdown.cancel();
        drain(&tasks).await;
        drop(lease);
        if let Handover::Done = handover {
            forwarding.drain_connections(stop_signal()).await;
        }
    });
    failed.map_or(Ok(()), Err)
}

/// Whether the app ends. Without a tray, the only possible event is the end.
fn ends_app(tray: Option<&mut Tray>, wake: &Wake) -> bool {
    tray.is_none_or(|tray| tray.handle(wake).is_break())
}

/// Waits for running operations, up to a timeout.
async fn drain(tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!("an operation is still running; the next start recovers it");
    }
}

/// Shows the window of a running app. Returns `false` without one.
async fn show_running(home: &Home) -> anyhow::Result<bool> {
    match Client::connect(home, Role::App).await {
        Ok((client, _)) if client.role() == Role::App => {
            client.request(Request::ShowWindow).await?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        // `Io`: the app is just ending.
        Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Io) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Claims the control socket; another forwarder is asked to step down. Returns `None` after showing the window of an
/// app that claimed it first.
async fn take_over(home: &Home) -> anyhow::Result<Option<ControlSocket>> {
    let started = Instant::now();
    loop {
        if let Some(control_socket) = ControlSocket::claim(home)? {
            return Ok(Some(control_socket));
        }
        if show_running(home).await? {
            return Ok(None);
        }
        // The forwarder may end before it responds.
        if let Ok((client, _)) = Client::connect(home, Role::App).await {
            drop(client.request(Request::StepDown).await);
        }
        anyhow::ensure!(
            started.elapsed() < TAKE_OVER_TIMEOUT,
            "the current forwarder did not step down"
        );
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Event loop of the main thread, which owns the UI.
fn event_loop() -> EventLoop<Wake> {
    #[allow(unused_mut, reason = "changed on macOS")]
    let mut events = EventLoopBuilder::with_user_event().build();
    #[cfg(target_os = "macos")]
    {
        use tao::platform::macos::{ActivationPolicy, EventLoopExtMacOS};
        // Menu bar only, no dock icon.
        events.set_activation_policy(ActivationPolicy::Accessory);
    }
    events
}

async fn recover(operations: Arc<Operations>) {
    if let Err(error) = operations.recover().await {
        tracing::warn!(?error, "cannot recover interrupted operations");
    }
}

async fn quit_on_signal(wakes: EventLoopProxy<Wake>) {
    stop_signal().await;
    // Fails only while quitting.
    let _ = wakes.send_event(Wake::Quit);
}

/// Resolves on SIGTERM or SIGINT.
async fn stop_signal() {
    let received = async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        std::io::Result::Ok(())
    };
    if let Err(error) = received.await {
        tracing::warn!(%error, "cannot listen for signals");
        std::future::pending().await
    }
}
