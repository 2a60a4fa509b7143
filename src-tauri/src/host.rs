//! What the app does when the tray or the window asks.

use std::sync::Arc;

use async_trait::async_trait;
use lxc_dev_manager_core::control::{Host, Windows};
use lxc_dev_manager_core::engine::Engine;
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

use crate::launch;

/// The running app.
pub(crate) struct Desktop {
    engine: Arc<Engine>,
    watch: Watch,
    app: AppHandle,
    windows: Windows,
}

impl Desktop {
    pub(crate) fn new(engine: Arc<Engine>, watch: Watch, app: AppHandle) -> Self {
        Self {
            engine,
            watch,
            app,
            windows: Windows::default(),
        }
    }

    /// Carries an action out in the background. Its failure is shown by the view.
    pub(crate) fn spawn(self: &Arc<Self>, action: Action) {
        let desktop = self.clone();
        tauri::async_runtime::spawn(async move {
            if let Err(error) = desktop.act(action).await {
                tracing::warn!(?error, "an action failed");
            }
        });
    }

    /// Shows the window in the background.
    pub(crate) fn spawn_window(self: &Arc<Self>) {
        let desktop = self.clone();
        tauri::async_runtime::spawn(async move {
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
        self.start(
            &plan.program.display().to_string(),
            &plan.arguments,
            &env.project_path,
        )
    }

    /// Starts a program that lives on its own; its end is only logged.
    fn start(&self, program: &str, arguments: &[String], directory: &str) -> Result<()> {
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
        if self.windows.raise() {
            return Ok(());
        }
        let program =
            launch::this_program().map_err(|error| Error::new(ErrorKind::Io, error.to_string()))?;
        self.start(
            &program.display().to_string(),
            &[launch::WINDOW.to_owned()],
            "/",
        )
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }
}
