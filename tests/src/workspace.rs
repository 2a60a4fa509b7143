//! A test's own home, state and project directory on one engine. Its instances are deleted on drop.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::engines::TestEngine;

/// The directories and the engine.
pub struct Workspace {
    /// Parent of all directories.
    pub root: tempfile::TempDir,
    engine: TestEngine,
    /// Unique project name.
    pub project: String,
    /// The user who runs our programs, if not this one.
    user: Option<u32>,
}

/// A user without privileges, but with access to the engines, whose files envs may have (`tests/engines/engines.sh`).
pub const PLAIN_USER: u32 = 70_000;

#[derive(Debug)]
pub struct Ran {
    /// `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Path of a program of this build.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test
        .parent()
        .and_then(Path::parent)
        .context("no build directory")?;
    let path = directory.join(name);
    if !path.exists() {
        bail!("{} is not built: cargo build --workspace", path.display());
    }
    Ok(path)
}

/// Starts a command and kills it when it reports a step.
pub fn kill_at_step(mut command: Command, step: &str) -> Result<()> {
    let mut child = command.spawn()?;
    let lines = BufReader::new(child.stderr.take().context("no stderr")?).lines();
    let mut seen = Vec::new();
    for line in lines {
        let line = line?;
        let there = line.starts_with(step);
        seen.push(line);
        if there {
            child.kill()?;
            break;
        }
    }
    let status = child.wait()?;
    ensure!(
        status.code().is_none(),
        "ended before the kill ({status}): {seen:?}"
    );
    Ok(())
}

impl Workspace {
    /// A workspace with an empty project.
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let workspace = Self::bare(engine)?;
        workspace.ok(&["create", "-n", &workspace.project, "-p", "8000"])?;
        Ok(workspace)
    }

    /// A workspace without a project.
    pub fn bare(engine: &TestEngine) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("ldmt-").tempdir()?;
        for directory in ["home", "run", "project"] {
            std::fs::create_dir(root.path().join(directory))?;
        }
        let project = format!("t{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        Ok(Self {
            root,
            engine: engine.clone(),
            project,
            user: None,
        })
    }

    /// A workspace without a project, for another user than root. As another user than root, for that one.
    pub fn of_plain_user(engine: &TestEngine) -> Result<Self> {
        let mut workspace = Self::bare(engine)?;
        if rustix::process::geteuid().is_root() {
            let root = workspace.root.path();
            for directory in ["", "home", "run", "project"] {
                chown(root.join(directory), Some(PLAIN_USER), Some(PLAIN_USER))?;
            }
            workspace.user = Some(PLAIN_USER);
        }
        Ok(workspace)
    }

    /// Gives a file of the project to the user who runs our programs.
    pub fn give(&self, path: &Path) -> Result<()> {
        Ok(chown(path, self.user, self.user)?)
    }

    /// Number of the user who runs our programs.
    pub fn uid(&self) -> u32 {
        self.user
            .unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }

    pub fn engine(&self) -> &TestEngine {
        &self.engine
    }

    pub fn directory(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Our state directory.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home/.lxc-dev-manager")
    }

    /// Text of `containers.yaml`.
    pub fn file(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.directory().join("containers.yaml"),
        )?)
    }

    /// Environment of our programs, without the user's own.
    pub fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("HOME", self.root.path().join("home")),
            ("LDM_HOME", self.home()),
            ("XDG_RUNTIME_DIR", self.root.path().join("run")),
            (self.engine.variable(), self.engine.socket.clone()),
            ("PATH", std::env::var_os("PATH").unwrap_or_default().into()),
            ("LANG", "C.UTF-8".into()),
        ]
    }

    /// The CLI with these arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let program = program("lxc-dev-manager")?;
        let mut command = match self.user {
            None => Command::new(program),
            Some(uid) => {
                let mut command = Command::new("setpriv");
                // The group of the engines' sockets.
                let group = std::fs::metadata(&self.engine.socket)?.gid();
                command.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
                command.arg(format!("--groups={group}")).arg(program);
                command
            }
        };
        command
            .args(arguments)
            .current_dir(self.directory())
            .env_clear()
            .envs(self.variables());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    /// Runs the CLI to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        Ok(self.command(arguments)?.output()?.into())
    }

    /// Runs the CLI, which has to succeed; returns its output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.run(arguments)?;
        if ran.code != Some(0) {
            bail!("{arguments:?} failed: {ran:#?}");
        }
        Ok(ran.stdout)
    }

    /// Creates an env from the test image.
    pub fn create(&self, env: &str) -> Result<String> {
        self.ok(&["container", "create", env, &crate::engines::image()])
    }

    /// Instances of this workspace.
    pub fn instances(&self) -> Result<Vec<String>> {
        let found = apart(self.engine.backend().instances())??;
        let directory = self.directory().canonicalize()?;
        let ours = found.into_iter().filter(|instance| {
            instance.marks.path.as_deref() == Some(&directory)
                || instance
                    .name
                    .as_str()
                    .starts_with(&format!("{}-", self.project))
        });
        Ok(ours.map(|instance| instance.name.to_string()).collect())
    }

    fn clear(&self) -> Result<()> {
        let backend = self.engine.backend();
        for name in self.instances()? {
            let name = name.parse()?;
            // It may be stopped already. Deletion reports errors.
            let _ = apart(backend.stop(&name, true))?;
            apart(backend.delete(&name))??;
        }
        Ok(())
    }
}

/// Runs a future on a new thread, because the caller may be in a runtime.
pub fn apart<T: Send>(future: impl Future<Output = T> + Send) -> Result<T> {
    let run = || {
        Ok(tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(future))
    };
    std::thread::scope(|scope| scope.spawn(run).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("an instance of {} was left behind: {error:?}", self.project);
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
