//! Actions of the tray and the window.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use lxc_dev_manager_core::control::{Host, Windows};
use lxc_dev_manager_core::event::EventKind;
use lxc_dev_manager_core::forward::{FocusRequest, Forwarding};
use lxc_dev_manager_core::model::{GuestPort, SnapshotName};
use lxc_dev_manager_core::operations::{MayStop, Operations};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::terminal;
use lxc_dev_manager_core::view::{Action, EnvRef};
use lxc_dev_manager_core::watch::Watch;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use lxc_dev_manager_desktop::programs;
use tokio_util::task::TaskTracker;

use crate::launch::Launch;
use crate::notice;

/// The running app.
pub(crate) struct Desktop {
    operations: Arc<Operations>,
    watch: Watch,
    tasks: TaskTracker,
    forwarding: Forwarding,
    windows: Windows,
    /// A window process runs, connected or not.
    window_running: Arc<AtomicBool>,
}

impl Desktop {
    /// Actions are spawned on `tasks`.
    pub(crate) fn new(
        operations: Arc<Operations>,
        watch: Watch,
        forwarding: Forwarding,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            operations,
            watch,
            tasks,
            forwarding,
            windows: Windows::default(),
            window_running: Arc::default(),
        }
    }

    /// Runs an action in the background. If no operation was started, its failure is reported here.
    pub(crate) fn spawn(self: &Arc<Self>, action: Action) {
        let desktop = self.clone();
        self.tasks.spawn(async move {
            let mut events = desktop.operations.bus().subscribe();
            let env = action.env().clone();
            let Err(error) = desktop.act(action).await else {
                return;
            };
            tracing::warn!(?error, "action failed");
            let mut reported = false;
            while let Ok(event) = events.try_recv() {
                reported |=
                    matches!(event.kind, EventKind::Finished(outcome) if outcome.env == env);
            }
            if !reported {
                notice::refused(&env, &error).await;
                let error = error.report();
                desktop
                    .operations
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
                tracing::warn!(?error, "cannot show window");
            }
        });
    }

    fn open_terminal(&self, env: &EnvRef) -> Result<()> {
        let command = programs::find(programs::COMMAND_LINE)?
            .display()
            .to_string();
        let argv = [command, "ssh".to_owned(), env.env.to_string()];
        let preferred = std::env::var("TERMINAL").ok();
        let plan =
            terminal::terminal_command(&programs::search_path(), preferred.as_deref(), &argv);
        let plan = plan.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "no terminal emulator found")
                .with_hint("install one (`sudo apt install xterm`) or set `TERMINAL`")
        })?;
        let directory = Path::new(&env.project_path);
        self.launch(&plan.program, &plan.arguments, directory)
            .start(|| {})
    }

    /// Runs `lxc-dev-manager open`, which queries this app.
    fn open_port(&self, env: &EnvRef, port: GuestPort) -> Result<()> {
        let program = programs::find(programs::COMMAND_LINE)?;
        let arguments = ["open".to_owned(), env.env.to_string(), port.to_string()];
        let directory = Path::new(&env.project_path);
        self.launch(&program, &arguments, directory).start(|| {})
    }

    /// Prepares a program with the original descriptor limit.
    fn launch(&self, program: &Path, arguments: &[String], directory: &Path) -> Launch {
        let descriptors = self.forwarding.inherited_descriptors();
        Launch::new(program, arguments, directory, descriptors)
    }

    fn open(&self, env: &EnvRef) -> Result<(Arc<Operations>, Project)> {
        let project = Project::open(Path::new(&env.project_path))?;
        Ok((self.operations.for_project(&project)?, project))
    }

    fn snapshot_name() -> Result<SnapshotName> {
        let now = jiff::Timestamp::now().to_zoned_datetime(jiff::tz::TimeZone::system());
        SnapshotName::parse(&now.strftime("%Y-%m-%d-%H%M%S").to_string())
    }
}

/// Refuses an env with open terminal sessions.
fn ensure_no_session(operations: &Operations, project: &Project, env: &EnvRef) -> Result<()> {
    let name = &env.env;
    let message = match operations.sessions(project, name)? {
        0 => return Ok(()),
        1 => format!("a terminal session is open in `{name}`"),
        open => format!("{open} terminal sessions are open in `{name}`"),
    };
    Err(
        Error::new(ErrorKind::NeedsConfirmation, message).with_hint(format!(
            "close it, or stop anyway in the tray menu or with `lxc-dev-manager down {name}`"
        )),
    )
}

#[async_trait]
impl Host for Desktop {
    fn trust(&self, path: &str, parts: &[String]) -> Result<()> {
        let project = Project::open(Path::new(path))?;
        self.operations.trust().add_shown(&project, parts)
    }

    async fn act(&self, action: Action) -> Result<()> {
        match action {
            Action::Start { env } => {
                let (operations, project) = self.open(&env)?;
                operations.start(&project, &env.env).await.map(drop)
            }
            Action::Stop { env, force } => {
                let (operations, project) = self.open(&env)?;
                if !force {
                    ensure_no_session(&operations, &project, &env)?;
                }
                operations.stop(&project, &env.env).await.map(drop)
            }
            Action::Snapshot {
                env,
                name,
                description,
            } => {
                let name = match name {
                    Some(name) => name,
                    None => Self::snapshot_name()?,
                };
                let (operations, mut project) = self.open(&env)?;
                operations
                    .snapshot(&mut project, &env.env, &name, description, MayStop::Yes)
                    .await
            }
            Action::Restore { env, snapshot } => {
                let (operations, project) = self.open(&env)?;
                let restored = operations.restore(&project, &env.env, &snapshot).await;
                restored.map(drop)
            }
            Action::Undo { env } => {
                let (operations, mut project) = self.open(&env)?;
                let undone = operations.undo(&mut project, Some(&env.env)).await;
                undone.map(drop)
            }
            Action::Focus { env, port } => {
                let (port, cut) = (Some(port), false);
                let moved = self.forwarding.focus(FocusRequest { env, port, cut }).await;
                moved.map(drop)
            }
            Action::OpenPort { env, port } => self.open_port(&env, port),
            Action::Terminal { env } => self.open_terminal(&env),
            Action::Dismiss { env } => {
                self.watch.dismiss(env).await;
                Ok(())
            }
        }
    }

    fn watch(&self) -> &Watch {
        &self.watch
    }

    async fn show_window(&self) -> Result<()> {
        // A window that was just started connects soon.
        if self.windows.raise() || self.window_running.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let running = self.window_running.clone();
        let started = programs::find(programs::WINDOW).and_then(|program| {
            let launch = self.launch(&program, &[], Path::new("/"));
            launch.start(move || running.store(false, Ordering::SeqCst))
        });
        if started.is_err() {
            self.window_running.store(false, Ordering::SeqCst);
        }
        started
    }

    fn windows(&self) -> &Windows {
        &self.windows
    }

    fn forwarding(&self) -> &Forwarding {
        &self.forwarding
    }
}
