//! For tests and benches of forwards: a project with envs, their services, and requests to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::engines::{self, TestEngine};
use crate::workspace::{Ran, Workspace};
use anyhow::{Context, Result, bail, ensure};

/// A web server; see the comment in the script.
pub const SERVICE: &str = include_str!("service.py");
/// For conditions that should soon be true.
pub const TIMEOUT: Duration = Duration::from_secs(60);
const ANSWER: Duration = Duration::from_secs(20);

/// A project whose envs have one port.
pub struct Stage {
    pub workspace: Workspace,
    pub port: u16,
}

/// A child process, killed on drop.
pub struct Running {
    pub child: Child,
    pub lines: BufReader<ChildStdout>,
}

/// A port that is free at the moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Stage {
    /// Creates a project with one port and these envs.
    pub fn new(engine: &TestEngine, envs: &[&str]) -> Result<Self> {
        let workspace = Workspace::bare(engine)?;
        let port = free_port()?;
        workspace.ok(&["create", "-n", &workspace.project, "-p", &port.to_string()])?;
        for env in envs {
            workspace.ok(&["container", "create", env, &engines::tools_image()])?;
        }
        Ok(Self { workspace, port })
    }

    /// Starts a web server that responds with the name of its env.
    pub fn service(&self, env: &str, host: &str) -> Result<Running> {
        self.service_responding_with(env, env, host, self.port)
    }

    pub fn service_responding_with(
        &self,
        env: &str,
        word: &str,
        host: &str,
        port: u16,
    ) -> Result<Running> {
        let port = port.to_string();
        let arguments = [
            "exec", "-u", "root", env, "--", "python3", "-c", SERVICE, word, host, &port,
        ];
        let mut running = self.start(&arguments)?;
        let line = running.line()?;
        ensure!(line == "listening\n", "{env}: {line:?}");
        Ok(running)
    }

    /// Starts the CLI in the background.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        let mut command = self.workspace.command(arguments)?;
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Running { child, lines })
    }

    /// Starts `proxy` and waits for the first forward.
    pub fn proxy(&self, arguments: &[&str]) -> Result<Running> {
        let arguments = [&["proxy"], arguments].concat();
        let mut proxy = self.start(&arguments)?;
        let line = proxy.line()?;
        ensure!(line.contains(&self.port.to_string()), "{line:?}");
        Ok(proxy)
    }

    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.workspace.run(arguments)
    }

    /// Host name of an env, with port.
    pub fn name(&self, env: &str) -> String {
        format!("{env}.{}.localhost:{}", self.workspace.project, self.port)
    }

    /// Requests the shared port without a name.
    pub fn ask(&self) -> Result<String> {
        ask(self.port, &format!("127.0.0.1:{}", self.port))
    }

    /// Requests the shared port with the name of an env.
    pub fn ask_for(&self, env: &str) -> Result<String> {
        ask(self.port, &self.name(env))
    }

    /// Forwards in `ports --json`.
    pub fn forwards(&self) -> Result<Vec<serde_json::Value>> {
        let text = self.workspace.ok(&["ports", "--json"])?;
        let all: serde_json::Value = serde_json::from_str(&text)?;
        let ports = all["ports"].as_array().context("no ports")?;
        let configured = ports.iter().filter(|port| port["configured"] == true);
        Ok(configured.map(|port| port["forward"].clone()).collect())
    }
}

impl Running {
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        Ok(line)
    }

    /// Sends a signal, such as `-INT`.
    pub fn signal(&self, name: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status()?;
        ensure!(sent.success(), "cannot send {name} to {pid}");
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request on a new connection; returns the complete response.
pub fn request(port: u16, host: &str, more: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The body of a successful response.
pub fn ask(port: u16, host: &str) -> Result<String> {
    let answer = request(port, host, "")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    if !head.starts_with("HTTP/1.1 200") && !head.starts_with("HTTP/1.0 200") {
        bail!("{answer}");
    }
    Ok(body.trim_end().to_owned())
}

/// Waits for a condition; fails with its last result.
pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    loop {
        let last = holds();
        match last {
            Ok(true) => return Ok(()),
            last if begun.elapsed() > TIMEOUT => bail!("{what}: {last:?}"),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
