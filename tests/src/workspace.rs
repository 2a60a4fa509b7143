//! A place for one test: a home, a project's directory, and our programs with only one engine in
//! sight. Every instance of it is deleted at its end.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::engines::TestEngine;

/// The place.
pub struct Workspace {
    /// Everything is below it.
    pub root: tempfile::TempDir,
    engine: TestEngine,
    /// Name of its project, different in every test.
    pub project: String,
}

/// The result of a command.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its output.
    pub stdout: String,
    /// Its errors.
    pub stderr: String,
}

/// A program of this build.
pub fn program(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test
        .parent()
        .and_then(Path::parent)
        .context("no build directory")?;
    let path = directory.join(name);
    if !path.exists() {
        bail!("{} isn't built: cargo build --workspace", path.display());
    }
    Ok(path)
}

/// Starts a command and kills it at a step of its status lines.
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
        "it ended by itself ({status}): {seen:?}"
    );
    Ok(())
}

impl Workspace {
    /// A new place on an engine, with an empty project.
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let workspace = Self::bare(engine)?;
        workspace.ok(&["create", "-n", &workspace.project, "-p", "8000"])?;
        Ok(workspace)
    }

    /// A new place without a project.
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
        })
    }

    /// The engine that is in sight.
    pub fn engine(&self) -> &TestEngine {
        &self.engine
    }

    /// The project's directory.
    pub fn directory(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// The home of our state.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home/.lxc-dev-manager")
    }

    /// The project's file.
    pub fn file(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.directory().join("containers.yaml"),
        )?)
    }

    /// Environment of our programs: nothing of the user's own.
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

    /// A command line that isn't started yet.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program("lxc-dev-manager")?);
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

    /// Runs a command line to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        Ok(self.command(arguments)?.output()?.into())
    }

    /// Runs a command line that has to succeed, and returns its output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.run(arguments)?;
        if ran.code != Some(0) {
            bail!("{arguments:?} failed: {ran:#?}");
        }
        Ok(ran.stdout)
    }

    /// Makes an env from the tests' image.
    pub fn create(&self, env: &str) -> Result<String> {
        self.ok(&["container", "create", env, &crate::engines::image()])
    }

    /// Names of the engine's instances that belong to this place.
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
            // It may be stopped already; deleting tells whether it is gone.
            let _ = apart(backend.stop(&name, true))?;
            apart(backend.delete(&name))??;
        }
        Ok(())
    }
}

/// Runs a future to its end on a thread of its own, for callers that may be in a runtime or not.
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
