//! X server and session bus with the app.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::{Workspace, program};
use anyhow::{Context, Result, bail};

/// Xvfb and dbus-daemon, killed on drop.
pub struct Screen {
    xvfb: Child,
    bus: Child,
    pub display: String,
    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub address: String,
}

impl Screen {
    pub fn new() -> Result<Self> {
        let mut xvfb = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-screen",
                "0",
                "1400x900x24",
                "-nolisten",
                "tcp",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Xvfb")?;
        let number = first_line(xvfb.stdout.take())?;
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start dbus-daemon")?;
        let address = first_line(bus.stdout.take())?;
        Ok(Self {
            xvfb,
            bus,
            display: format!(":{number}"),
            address,
        })
    }

    /// A program of this build, on this screen.
    pub fn command(&self, workspace: &Workspace, name: &str) -> Result<Command> {
        let mut command = Command::new(program(name)?);
        self.prepare(&mut command, workspace);
        Ok(command)
    }

    /// Sets the environment: this screen, nothing from the user.
    pub fn prepare(&self, command: &mut Command, workspace: &Workspace) {
        command.env_clear().envs(workspace.variables());
        command
            .env("DISPLAY", &self.display)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address);
        command
            .env("GDK_BACKEND", "x11")
            .env("NO_AT_BRIDGE", "1")
            .stdin(Stdio::null());
    }

    pub fn app(&self, workspace: &Workspace) -> Result<App> {
        App::start(&mut self.command(workspace, "lxc-dev-manager-desktop")?)
    }
}

fn first_line(output: Option<ChildStdout>) -> Result<String> {
    let mut line = String::new();
    BufReader::new(output.context("no output")?).read_line(&mut line)?;
    if line.trim().is_empty() {
        bail!("ended without printing its address");
    }
    Ok(line.trim().to_owned())
}

impl Drop for Screen {
    fn drop(&mut self) {
        for child in [&mut self.bus, &mut self.xvfb] {
            // They may have exited.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The running app, killed on drop.
pub struct App(Child);

impl App {
    /// Starts a command from [`Screen::command`].
    pub fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.spawn().context("cannot start app")?))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the exit; returns whether it succeeded.
    pub fn ended(&mut self) -> Result<bool> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status.success());
            }
            if begun.elapsed() > Duration::from_secs(20) {
                bail!("app did not exit");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
