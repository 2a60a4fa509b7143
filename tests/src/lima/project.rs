//! A Lima project on a stage, for tests of the CLI.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Guest, LimaStage};
use crate::workspace::Ran;

/// The project `web` with `backend: lima`.
pub struct LimaProject<'a> {
    stage: &'a LimaStage,
    /// Our CLI.
    program: PathBuf,
}

impl<'a> LimaProject<'a> {
    /// Creates the project; `debian:12` is this guest.
    pub fn new(stage: &'a LimaStage, guest: Guest) -> Result<Self> {
        // Moves the test templates to where the CLI finds them.
        stage.backend(guest)?;
        let (project, state) = (stage.path("project"), stage.path("state"));
        fs::create_dir_all(&project)?;
        fs::create_dir_all(&state)?;
        fs::rename(stage.path("templates"), state.join("templates"))?;
        let text = "project: web\nbackend: lima\ndefaults: {ports: [8000]}\n";
        fs::write(project.join("containers.yaml"), text)?;
        let program = super::beside_tests("lxc-dev-manager")?;
        Ok(Self { stage, program })
    }

    pub fn stage(&self) -> &LimaStage {
        self.stage
    }

    /// Text of `containers.yaml`.
    pub fn file(&self) -> Result<String> {
        Ok(fs::read_to_string(
            self.stage.path("project/containers.yaml"),
        )?)
    }

    /// The CLI with these arguments, not started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.stage.path("project"))
            .env_clear()
            .env("HOME", self.stage.path("home"))
            .env("LDM_HOME", self.stage.path("state"))
            .env("LIMA_HOME", self.stage.lima_home())
            .env("LIMACTL", self.stage.limactl())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            // launchd sets it for apps; limactl interprets it as a start at login.
            .env("XPC_SERVICE_NAME", "application.dev")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the CLI to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        Ok(self.command(arguments).output()?.into())
    }

    /// Runs the CLI, which has to succeed; returns its output.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.run(arguments)?;
        ensure!(ran.code == Some(0), "{arguments:?}: {ran:#?}");
        Ok(ran.stdout)
    }

    /// Writes a file in an env's home, and syncs it to disk.
    pub fn write_note(&self, env: &str, text: &str) -> Result<()> {
        let script = "printf %s \"$1\" >note && sync";
        self.ok(&["exec", env, "--", "sh", "-c", script, "sh", text])
            .map(drop)
    }

    /// Reads the file of [`Self::write_note`].
    pub fn note(&self, env: &str) -> Result<String> {
        self.ok(&["exec", env, "--", "cat", "note"])
    }

    /// Runs the CLI, which has to fail with these words on stderr.
    pub fn refused(&self, arguments: &[&str], words: &str) -> Result<Ran> {
        let ran = self.run(arguments)?;
        ensure!(ran.code != Some(0), "{arguments:?}: {ran:#?}");
        ensure!(
            ran.stderr.contains(words),
            "{arguments:?}, {words}: {ran:#?}"
        );
        Ok(ran)
    }

    /// Status of an env in `list`.
    pub fn status(&self, env: &str) -> Result<String> {
        let listed: Value = serde_json::from_str(&self.ok(&["--json", "list"])?)?;
        let envs = listed["envs"].as_array().context("no envs")?;
        let found = envs.iter().find(|known| known["name"] == env);
        let status = found.and_then(|env| env["status"].as_str());
        status
            .map(str::to_owned)
            .with_context(|| format!("{env}: {listed}"))
    }
}
