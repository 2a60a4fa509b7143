//! Forwards in the tray: the app takes over from a command, moves the focus, and gives back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lxc_dev_manager_tests::desktop::screen::Screen;
use lxc_dev_manager_tests::desktop::tray::{Tray, find};
use lxc_dev_manager_tests::engines::{self, TestEngine};
use lxc_dev_manager_tests::workspace::Workspace;

/// A web server that answers with a name; see its head.
const SERVICE: &str = include_str!("../src/service.py");

/// A process of ours that is ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a command line that goes on, and waits for its first line.
fn start(workspace: &Workspace, arguments: &[&str]) -> Result<Running> {
    let mut command = workspace.command(arguments)?;
    let mut child = Running(command.stderr(Stdio::null()).spawn()?);
    let output = child.0.stdout.as_mut().context("no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    ensure!(!line.is_empty(), "{arguments:?} said nothing");
    Ok(child)
}

fn ask(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}

/// Until the port is answered by this env.
async fn answered_by(port: u16, env: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let last = ask(port);
        match &last {
            Ok(name) if name == env => return Ok(()),
            _ if begun.elapsed() > Duration::from_secs(60) => bail!("{env}: {last:?}"),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub fn the_app_takes_over_and_moves_the_focus(engine: &TestEngine) -> Result<()> {
    super::scenes::run(async {
        let workspace = Workspace::bare(engine)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let number = port.to_string();
        workspace.ok(&["create", "-n", &workspace.project, "-p", &number])?;
        let mut services = Vec::new();
        for env in ["a", "b"] {
            workspace.ok(&["container", "create", env, &engines::tools_image()])?;
            let service = [
                "exec",
                "-u",
                "root",
                env,
                "--",
                "python3",
                "-c",
                SERVICE,
                env,
                "127.0.0.1",
                &number,
            ];
            services.push(start(&workspace, &service)?);
        }
        let _proxy = start(&workspace, &["proxy", "a"])?;
        answered_by(port, "a").await?;

        let screen = Screen::new()?;
        let mut tray = Tray::on(&screen.address).await?;
        let mut app = screen.app(&workspace)?;
        let mut menu = tray.menu().await?;
        let item = format!("Port {port}");
        let focus = ["●  b", item.as_str(), "Give it the focus"];
        let shown = menu
            .until("the port of b", |shown| find(shown, &focus).is_some())
            .await?;
        ensure!(
            find(
                &shown,
                &["●  a", &format!("Port {port} ★"), "Open in the browser"]
            )
            .is_some()
        );
        answered_by(port, "a").await?;

        menu.press(&shown, &focus).await?;
        let starred = format!("Port {port} ★");
        let shown = menu
            .until("the star", |shown| {
                find(shown, &["●  b", &starred]).is_some()
            })
            .await?;
        answered_by(port, "b").await?;

        // The command has kept its lease, and forwards again when the app has gone.
        menu.press(&shown, &["Quit"]).await?;
        ensure!(app.ended()?, "the app failed");
        answered_by(port, "b").await
    })
}
