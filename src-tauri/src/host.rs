//! What the app does when the tray or the window asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use lxc_dev_manager_core::control::{Host, Windows};
use lxc_dev_manager_core::engine::Engine;
use lxc_dev_manager_core::event::EventKind;
use lxc_dev_manager_core::model::SnapshotName;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::terminal;
use lxc_dev_manager_core::view::{Action, EnvRef, ViewEvent};
use lxc_dev_manager_core::watch::Watch;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use tauri::AppHandle;
use tauri_plugin_shell::ShellExt;
use tauri_plugin_shell::process::CommandEvent;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::{launch, notice};

/// The running app.
pub(crate) struct Desktop {
    engine: Arc<Engine>,
    watch: Watch,
    app: AppHandle,
    tasks: TaskTracker,
    windows: Windows,
    /// A window's process runs, connected or not yet.
    window_runs: Arc<AtomicBool>,
}

impl Desktop {
    /// What is begun is waited for by `tasks`.
    pub(crate) fn new(
        engine: Arc<Engine>,
        watch: Watch,
        app: AppHandle,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            engine,
            watch,
            app,
            tasks,
            windows: Windows::default(),
            window_runs: Arc::default(),
        }
    }

    /// Carries an action out in the background. Its failure is shown by the view: by the operation's
    /// end, or, where none could be begun, here.
    pub(crate) fn spawn(self: &Arc<Self>, action: Action) {
        let desktop = self.clone();
        self.tasks.spawn(async move {
            let mut events = desktop.engine.bus().subscribe();
            let env = action.env().clone();
            let Err(error) = desktop.act(action).await else {
                return;
            };
            tracing::warn!(?error, "an action failed");
            let mut told = false;
            while let Ok(event) = events.try_recv() {
                told |= matches!(event.kind, EventKind::Finished(outcome) if outcome.env == env);
            }
            if !told {
                notice::refused(&env, &error).await;
                let error = error.report();
                desktop
                    .engine
                    .bus()
                    .publish(EventKind::Refused { env, error });
            }
        });
    }

    /// Shows the window in the background.
    pub(crate) fn spawn_window(self: &Arc<Self>) {
        let desktop = self.clone();
        self.tasks.spawn(async move {
            if let Err(error) = desktop.show_window().await {
                tracing::warn!(?error, "the window can't be shown");
            }
        });
    }

    /// Ends the app.
    pub(crate) fn quit(&self) {
        self.app.exit(0);
    }

    fn open_terminal(&self, env: &EnvRef) -> Result<()> {
        let command = launch::command_line()?.display().to_string();
        let argv = [command, "ssh".to_owned(), env.env.to_string()];
        let preferred = std::env::var("TERMINAL").ok();
        let plan = terminal::plan(&launch::search_path(), preferred.as_deref(), &argv);
        let plan = plan.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "there is no terminal emulator")
                .with_hint("install one: `sudo apt install xterm`, or set TERMINAL to yours")
        })?;
        let program = plan.program.display().to_string();
        self.start(&program, &plan.arguments, &env.project_path, || {})
    }

    /// Starts a program that lives on its own, and may outlive the app.
    fn start(
        &self,
        program: &str,
        arguments: &[String],
        directory: &str,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Result<()> {
        let command = self
            .app
            .shell()
            .command(program)
            .args(arguments)
            .current_dir(directory);
        let (mut events, _child) = command.spawn().map_err(|error| {
            Error::new(ErrorKind::Io, format!("cannot start {program}")).caused_by(error)
        })?;
        let program = program.to_owned();
        tauri::async_runtime::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    CommandEvent::Stderr(line) => {
                        let line = String::from_utf8_lossy(&line).into_owned();
                        tracing::debug!(program, line, "said");
                    }
                    CommandEvent::Terminated(end) if end.code != Some(0) => {
                        tracing::warn!(program, code = ?end.code, "ended");
                    }
                    _ => {}
                }
            }
            at_end();
        });
        Ok(())
    }

    fn name_of_the_moment() -> Result<SnapshotName> {
        let now = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system());
        SnapshotName::parse(&now.strftime("%Y-%m-%d-%H%M%S").to_string())
    }
}

fn open(env: &EnvRef) -> Result<Project> {
    Project::open(std::path::Path::new(&env.project_path))
}

#[async_trait]
impl Host for Desktop {
    async fn act(&self, action: Action) -> Result<()> {
        match action {
            Action::Start { env } => self.engine.start(&open(&env)?, &env.env).await.map(drop),
            Action::Stop { env } => self.engine.stop(&open(&env)?, &env.env).await.map(drop),
            Action::Snapshot {
                env,
                name,
                description,
            } => {
                let name = match name {
                    Some(name) => name,
                    None => Self::name_of_the_moment()?,
                };
                self.engine
                    .snapshot(&mut open(&env)?, &env.env, &name, description)
                    .await
            }
            Action::Restore { env, snapshot } => self
                .engine
                .restore(&open(&env)?, &env.env, &snapshot)
                .await
                .map(drop),
            Action::Undo { env } => self
                .engine
                .undo(&mut open(&env)?, Some(&env.env))
                .await
                .map(drop),
            Action::Terminal { env } => self.open_terminal(&env),
            Action::Dismiss { env } => {
                self.watch.dismiss(env).await;
                Ok(())
            }
        }
    }

    async fn watch(&self) -> Option<mpsc::Receiver<ViewEvent>> {
        self.watch.subscribe().await
    }

    async fn show_window(&self) -> Result<()> {
        // One that was started and hasn't connected yet will be there in a moment.
        if self.windows.raise() || self.window_runs.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let runs = self.window_runs.clone();
        let started = launch::this_program()
            .map_err(|error| Error::new(ErrorKind::Io, error.to_string()))
            .and_then(|program| {
                let program = program.display().to_string();
                self.start(&program, &[launch::WINDOW.to_owned()], "/", move || {
                    runs.store(false, Ordering::SeqCst);
                })
            });
        if started.is_err() {
            self.window_runs.store(false, Ordering::SeqCst);
        }
        started
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }
}
