//! A project of Lima's on a stage, and our command line.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Guest, LimaStage};
use crate::workspace::Ran;

/// The project `web`, whose file says `backend: lima`, and whose guests are the tests' own.
pub struct LimaProject<'a> {
    stage: &'a LimaStage,
    /// Our command line.
    program: PathBuf,
}

impl<'a> LimaProject<'a> {
    /// `debian:12` means this guest in it.
    ///
    /// # Errors
    ///
    /// Its files can't be written.
    pub fn new(stage: &'a LimaStage, guest: Guest) -> Result<Self> {
        // Templates of the tests' images, where our command line looks for them.
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

    /// Its stage.
    pub fn stage(&self) -> &LimaStage {
        self.stage
    }

    /// What its file says.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn file(&self) -> Result<String> {
        Ok(fs::read_to_string(
            self.stage.path("project/containers.yaml"),
        )?)
    }

    /// A command line that isn't started yet.
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
            // launchd sets it for an app; limactl takes it for a start at login.
            .env("XPC_SERVICE_NAME", "application.dev")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command line to its end.
    ///
    /// # Errors
    ///
    /// It can't be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        Ok(self.command(arguments).output()?.into())
    }

    /// Runs a command line that has to succeed, and returns its output.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn ok(&self, arguments: &[&str]) -> Result<String> {
        let ran = self.run(arguments)?;
        ensure!(ran.code == Some(0), "{arguments:?}: {ran:#?}");
        Ok(ran.stdout)
    }

    /// Writes a file in an env's home, and onto its disk.
    ///
    /// # Errors
    ///
    /// It fails, or the env doesn't run.
    pub fn write_note(&self, env: &str, text: &str) -> Result<()> {
        let script = "printf %s \"$1\" >note && sync";
        self.ok(&["exec", env, "--", "sh", "-c", script, "sh", text])
            .map(drop)
    }

    /// What is in that file.
    ///
    /// # Errors
    ///
    /// It isn't there, or the env doesn't run.
    pub fn note(&self, env: &str) -> Result<String> {
        self.ok(&["exec", env, "--", "cat", "note"])
    }

    /// What a command line says that has to fail with words.
    ///
    /// # Errors
    ///
    /// It succeeds, or says something else.
    pub fn refused(&self, arguments: &[&str], words: &str) -> Result<Ran> {
        let ran = self.run(arguments)?;
        ensure!(ran.code != Some(0), "{arguments:?}: {ran:#?}");
        ensure!(
            ran.stderr.contains(words),
            "{arguments:?}, {words}: {ran:#?}"
        );
        Ok(ran)
    }

    /// The state of an env in `list`.
    ///
    /// # Errors
    ///
    /// It isn't listed.
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
