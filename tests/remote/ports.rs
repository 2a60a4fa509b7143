//! Ports of envs on a remote, over SSH.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::ssh::{Access, SshRoute};
use lxc_dev_manager_core::backend::{Backend, Route};
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::model::{GuestPort, InstanceName};
use lxc_dev_manager_core::provision::{self, KeyPair, Password, User};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::service;
use lxc_dev_manager_tests::workspace::Workspace;

use crate::life::{self, expect, on_runtime};
use crate::visitor::{LAB, Visitor};

/// A running guest on a remote, with a user that accepts our key.
struct Guest {
    lab: Arc<dyn Backend>,
    name: InstanceName,
    access: Access,
    _home: tempfile::TempDir,
}

impl Guest {
    async fn new(visitor: &Visitor) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let pair = KeyPair::load_or_create(&Home::new(home.path().join("home"), None, None))?;
        let user = User {
            name: "dev".parse()?,
            password: Password::parse("dev")?,
            has_explicit_password: false,
        };
        let guest = Self {
            lab: visitor.lab().await?,
            name: life::name()?,
            access: Access {
                user: user.name.clone(),
                key: pair.private,
            },
            _home: home,
        };
        let lab = guest.lab.as_ref();
        life::create(lab, &guest.name, &image()).await?;
        lab.start(&guest.name).await?;
        provision::set_up_user(lab, &guest.name, &user, &[pair.public]).await?;
        Ok(guest)
    }

    async fn route(&self) -> lxc_dev_manager_core::Result<SshRoute> {
        SshRoute::new(self.lab.clone(), &self.name, self.access.clone()).await
    }

    async fn run(&self, argv: &[&str]) -> Result<()> {
        life::said(self.lab.as_ref(), &self.name, argv)
            .await
            .map(drop)
    }
}

/// Runs a test with a guest, then deletes the guest.
fn with_guest(engine: &TestEngine, test: impl AsyncFnOnce(&Guest) -> Result<()>) -> Result<()> {
    let visitor = Visitor::new(engine)?.trusted()?;
    on_runtime(async {
        let guest = Guest::new(&visitor).await?;
        let tested = test(&guest).await;
        life::delete(guest.lab.as_ref(), &guest.name).await?;
        tested
    })
}

fn port(number: u16) -> Result<GuestPort> {
    GuestPort::new(number).context("no port")
}

pub fn services_of_both_families_are_reached(engine: &TestEngine) -> Result<()> {
    with_guest(engine, async |guest| {
        let route = guest.route().await?;
        let refused = route.dial(port(9)?).await;
        expect(refused, ErrorKind::Guest, &["port 9"])?;
        for (number, address) in [(8001, "0.0.0.0"), (8003, "127.0.0.1"), (8004, "::1")] {
            service::start(guest.lab.as_ref(), &guest.name, address, number).await?;
            let bytes = service::bytes(1 << 20);
            service::echo(route.dial(port(number)?).await?, &bytes).await?;
            let first = route.dial(port(number)?).await?;
            service::end_first(first, route.dial(port(number)?).await?).await?;
        }
        Ok(())
    })
}

pub fn a_route_ends_with_the_stop(engine: &TestEngine) -> Result<()> {
    with_guest(engine, async |guest| {
        service::start(guest.lab.as_ref(), &guest.name, "127.0.0.1", 8003).await?;
        let route = guest.route().await?;
        service::echo(route.dial(port(8003)?).await?, b"before").await?;
        guest.lab.stop(&guest.name, true).await?;
        let stopped = route.dial(port(8003)?).await;
        expect(stopped, ErrorKind::Conflict, &["is no longer running"])?;
        expect(
            guest.route().await,
            ErrorKind::Conflict,
            &["is not running"],
        )?;
        guest.lab.start(&guest.name).await?;
        let new = guest.route().await?;
        service::start(guest.lab.as_ref(), &guest.name, "127.0.0.1", 8003).await?;
        service::echo(new.dial(port(8003)?).await?, b"after").await
    })
}

pub fn guest_without_access_reports_the_reason(engine: &TestEngine) -> Result<()> {
    with_guest(engine, async |guest| {
        let foreign = Access {
            user: "root".parse()?,
            ..guest.access.clone()
        };
        let route = SshRoute::new(guest.lab.clone(), &guest.name, foreign).await?;
        let words = ["rejects the key of `root`", "authorized_keys"];
        expect(
            route.dial(port(22)?).await,
            ErrorKind::PermissionDenied,
            &words,
        )?;
        let key = "/etc/ssh/ssh_host_ed25519_key.pub";
        guest.run(&["cp", key, "/root/key.pub"]).await?;
        guest
            .run(&["cp", "/home/dev/.ssh/authorized_keys", key])
            .await?;
        for other in ["rsa", "ecdsa"] {
            let other = format!("/etc/ssh/ssh_host_{other}_key.pub");
            guest.run(&["rm", "-f", &other]).await?;
        }
        let shown = guest.route().await?.dial(port(22)?).await;
        let words = ["does not match its key files"];
        expect(shown, ErrorKind::PermissionDenied, &words)?;
        guest.run(&["cp", "/root/key.pub", key]).await?;
        guest.run(&["mv", "/usr/sbin/sshd", "/root/sshd"]).await?;
        let missing = guest.route().await?.dial(port(22)?).await;
        let words = ["has no SSH server", "openssh-server"];
        expect(missing, ErrorKind::Unsupported, &words)
    })
}

/// The hidden command `dial`, and ssh configured by `ssh-config`.
pub fn the_command_line_dials_at_a_remote(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let _visitor = Visitor::in_home(engine, &workspace.root.path().join("home"))?.trusted()?;
    let at = |arguments: &[&str]| -> Result<std::process::Command> {
        let mut command = workspace.command(&[&["--remote", LAB][..], arguments].concat())?;
        command.env_remove(engine.variable());
        Ok(command)
    };
    let made = at(&["container", "create", "dev", &image()])?.output()?;
    ensure!(made.status.success(), "{made:?}");
    let name: InstanceName = format!("{}-dev", workspace.project).parse()?;
    on_runtime(async {
        service::start(engine.backend().as_ref(), &name, "127.0.0.1", 8003).await
    })?;
    let mut dial = at(&["dial", "dev", "8003"])?
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = dial.stdin.take().context("no stdin")?;
    stdin.write_all(b"efrom afar, ")?;
    drop(stdin);
    let mut heard = String::new();
    let mut stdout = dial.stdout.take().context("no stdout")?;
    stdout.read_to_string(&mut heard)?;
    ensure!(heard == "from afar, end", "{heard:?}");
    ensure!(dial.wait()?.success(), "it failed");
    let block = at(&["ssh-config", "dev"])?.output()?;
    let path = workspace.root.path().join("config");
    std::fs::write(&path, &block.stdout)?;
    let host = format!("dev.{}.ldm", workspace.project);
    let mut ssh = std::process::Command::new("ssh");
    ssh.arg("-F").arg(&path);
    ssh.args(["-o", "BatchMode=yes", &host, "id -un; hostname"]);
    let output = ssh.env_clear().envs(workspace.variables()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text == format!("dev\n{name}\n"), "{output:?}");
    Ok(())
}
