//! The app's process: engine room, living view, control socket, tray.

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
use lxc_dev_manager_core::control::{self, Client, Holder, Request, Role};
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

/// The word that asks for the window instead of the app.
const WINDOW_WORD: &str = "window";
/// How long a command that forwards may take to let the app do it.
const TAKE_OVER: Duration = Duration::from_secs(8);
/// Pause between two tries.
const TAKE_OVER_PAUSE: Duration = Duration::from_millis(20);
/// How long operations that run may take to end when the app quits; recovery does the rest.
const DRAIN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    process::log();
    process::end(run())
}

fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        [WINDOW_WORD] => return become_window(),
        ref other => anyhow::bail!("unknown arguments {other:?}: there is only `{WINDOW_WORD}`"),
    }
    process::require_display(&|name| std::env::var_os(name))?;
    opengl::leave_out();
    let runtime = process::runtime()?;
    live(&runtime).map(|()| ExitCode::SUCCESS)
}

/// Ends this program by starting the window's in its process.
fn become_window() -> anyhow::Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = Command::new(programs::find(programs::WINDOW)?).exec();
    Err(error).context("the window can't be started")
}

/// Runs until Quit. A second start shows the first one's window and ends.
fn live(runtime: &Runtime) -> anyhow::Result<()> {
    let _entered = runtime.enter();
    let lookup = |name: &str| std::env::var_os(name);
    let home = assemble::home(&lookup)?;
    if runtime.block_on(show_running(&home))? {
        return Ok(());
    }
    // Whoever asks on the control socket has to be answered: all that may take time, or fail, comes first.
    let operations = runtime.block_on(assemble::operations(&lookup, None))?;
    Forwarding::check(&home)?;
    operations.registry().all()?;
    let mut events = event_loop();
    let wakes = events.create_proxy();
    let Some(mut holder) = runtime.block_on(take_over(&home))? else {
        return Ok(());
    };
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let taken_up = Forwarding::take_up(&operations, &mut holder, &tasks, &shutdown);
    let (watch, forwarding) = runtime.block_on(taken_up)?;
    let lease = runtime.block_on(forwarding.lease(Scope::Answering))?;
    let (room, view) = (operations.clone(), watch.clone());
    let desktop = Arc::new(Desktop::new(room, view, forwarding.clone(), tasks.clone()));
    let end_answers = CancellationToken::new();
    let served = runtime.spawn(control::serve(
        holder,
        desktop.clone(),
        tasks.clone(),
        end_answers.clone(),
    ));
    tasks.spawn(notice::follow(watch.clone(), shutdown.clone()));
    tasks.spawn(mend(operations));
    runtime.spawn(quit_when_asked(wakes.clone()));

    let (mut tray, mut failed) = (None::<Tray>, None);
    // Returns, while `run` would end the process with operations under way.
    events.run_return(|event, _, flow| match event {
        // A Mac takes an icon only from here on.
        Event::NewEvents(StartCause::Init) => {
            *flow = ControlFlow::Wait;
            match Tray::new(desktop.clone(), wakes.clone()) {
                Ok(made) => {
                    tray = Some(made);
                    let (wakes, watch) = (wakes.clone(), watch.clone());
                    tasks.spawn(tray::follow(wakes, watch, shutdown.clone()));
                }
                Err(error) => {
                    failed = Some(error.context("the tray can't be made"));
                    *flow = ControlFlow::Exit;
                }
            }
        }
        Event::UserEvent(wake) => {
            // Where there is no tray yet, it can only be the end.
            let over = tray.as_mut().is_none_or(|tray| tray.take(wake).is_break());
            if over {
                *flow = ControlFlow::Exit;
            }
        }
        _ => {}
    });
    tracing::debug!("quitting");
    drop(tray);
    runtime.block_on(async {
        let served = async { served.await.ok() };
        let passed = forwarding
            .pass_on(&home, (1, false), end_answers, served)
            .await;
        shutdown.cancel();
        drain(&tasks).await;
        drop(lease);
        if let Handover::Over = passed {
            forwarding.drain_connections(stopped()).await;
        }
    });
    failed.map_or(Ok(()), Err)
}

/// Waits for the operations that run, for a while.
async fn drain(tasks: &TaskTracker) {
    tasks.close();
    if tokio::time::timeout(DRAIN, tasks.wait()).await.is_err() {
        tracing::warn!("an operation still runs; the next start mends what it leaves");
    }
}

/// Shows the window of the app that runs, if one does.
async fn show_running(home: &Home) -> anyhow::Result<bool> {
    match Client::connect(home, Role::App).await {
        Ok((client, _)) if client.holder() == Role::App => {
            client.ask(Request::ShowWindow).await?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        // `Io`: it ends at this moment.
        Err(error) if matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Io) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The right to answer on the control socket: free, or given up by the command that has it. An app that
/// has got it meanwhile shows its window instead.
async fn take_over(home: &Home) -> anyhow::Result<Option<Holder>> {
    let begun = Instant::now();
    loop {
        if let Some(holder) = Holder::claim(home)? {
            return Ok(Some(holder));
        }
        if show_running(home).await? {
            return Ok(None);
        }
        // It may be gone before it has answered.
        if let Ok((client, _)) = Client::connect(home, Role::App).await {
            drop(client.ask(Request::StepDown).await);
        }
        anyhow::ensure!(
            begun.elapsed() < TAKE_OVER,
            "another process doesn't give way"
        );
        tokio::time::sleep(TAKE_OVER_PAUSE).await;
    }
}

/// The main thread's loop, which everything on the screen belongs to.
fn event_loop() -> EventLoop<Wake> {
    #[allow(unused_mut, reason = "a Mac's is changed")]
    let mut events = EventLoopBuilder::with_user_event().build();
    #[cfg(target_os = "macos")]
    {
        use tao::platform::macos::{ActivationPolicy, EventLoopExtMacOS};
        // In the menu bar, not in the dock.
        events.set_activation_policy(ActivationPolicy::Accessory);
    }
    events
}

async fn mend(operations: Arc<Operations>) {
    if let Err(error) = operations.recover().await {
        tracing::warn!(?error, "interrupted operations could not be mended");
    }
}

async fn quit_when_asked(wakes: EventLoopProxy<Wake>) {
    stopped().await;
    // An error says that it is quitting already.
    let _ = wakes.send_event(Wake::Quit);
}

/// Resolves when somebody asks this process to end.
async fn stopped() {
    let asked = async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        std::io::Result::Ok(())
    };
    if let Err(error) = asked.await {
        tracing::warn!(%error, "signals can't be heard");
        std::future::pending().await
    }
}
