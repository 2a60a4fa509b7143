//! A running instance for one test, deleted at its end.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use lxc_dev_manager_core::backend::{
    Backend, ExecSpec, LaunchSpec, Marks, Output, Progress, Settings, capture,
};
use lxc_dev_manager_core::model::InstanceName;
use lxc_dev_manager_core::provision::{self, Password, User};
use lxc_dev_manager_tests::engines::TestEngine;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// `SSH_ASKPASS` program.
const ASKPASS: &str = "#!/bin/sh\nprintf '%s\\n' \"$LDM_TEST_PASSWORD\"\n";

pub struct Guest {
    pub backend: Arc<dyn Backend>,
    pub name: InstanceName,
    pub runtime: Runtime,
    askpass: tempfile::TempDir,
}

pub fn user(name: &str, password: &str) -> Result<User> {
    Ok(User {
        name: name.parse()?,
        password: Password::parse(password)?,
        has_explicit_password: true,
    })
}

impl Guest {
    /// A running instance with a network.
    pub fn of(engine: &TestEngine, image: &str) -> Result<Self> {
        let askpass = tempfile::tempdir()?;
        let path = askpass.path().join("askpass");
        std::fs::write(&path, ASKPASS)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
        let name = format!("p{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let guest = Self {
            backend: engine.backend(),
            name: name.parse()?,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            askpass,
        };
        guest.runtime.block_on(async {
            let backend = guest.backend.as_ref();
            let spec = LaunchSpec {
                name: guest.name.clone(),
                image: backend.find_image(&image.parse()?).await?,
                marks: Marks::default(),
                settings: Settings::default(),
                user: lxc_dev_manager_core::model::UserName::dev(),
            };
            let cancel = CancellationToken::new();
            backend.create(&spec, &Progress::none(), &cancel).await?;
            backend.start(&guest.name).await?;
            provision::wait_for_network(backend, &guest.name).await?;
            anyhow::Ok(())
        })?;
        Ok(guest)
    }

    /// Creates a user without keys, and starts sshd.
    pub fn set_up(&self, user: &User) -> lxc_dev_manager_core::Result<()> {
        self.set_up_with(user, &[])
    }

    /// Creates a user or changes its password, while sshd runs.
    pub fn change(&self, user: &User) -> lxc_dev_manager_core::Result<()> {
        let backend = self.backend.as_ref();
        let set_up = provision::set_up_user(backend, &self.name, user, &[]);
        self.runtime.block_on(set_up)
    }

    /// Creates a user with keys, and starts sshd.
    pub fn set_up_with(&self, user: &User, keys: &[String]) -> lxc_dev_manager_core::Result<()> {
        let backend = self.backend.as_ref();
        self.runtime.block_on(async {
            provision::set_up_user(backend, &self.name, user, keys).await?;
            provision::start_ssh(backend, &self.name).await
        })
    }

    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        let spec = ExecSpec::new(argv.iter().copied());
        let ran = capture(self.backend.as_ref(), &self.name, &spec, Vec::new());
        Ok(self.runtime.block_on(ran)?)
    }

    /// Output of a command of a user, without the last newline. The command has to succeed.
    pub fn ok_as(&self, user: &User, command: &[&str]) -> Result<String> {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let spec = provision::as_user(&user.name, &command);
        let ran = capture(self.backend.as_ref(), &self.name, &spec, Vec::new());
        let output = self.runtime.block_on(ran)?;
        ensure!(output.code == 0, "{command:?} as {}: {output:?}", user.name);
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    fn address(&self) -> Result<IpAddr> {
        let instance = self.runtime.block_on(self.backend.instance(&self.name))?;
        instance.address.context("no address")
    }

    /// Whether a password is accepted over SSH.
    pub fn logs_in(&self, user: &User, password: &str) -> Result<bool> {
        let output = Command::new("ssh")
            .args(["-F", "none", "-o", "PreferredAuthentications=password"])
            .args(["-o", "NumberOfPasswordPrompts=1", "-o", "ConnectTimeout=10"])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .arg(format!("{}@{}", user.name, self.address()?))
            .args(["id", "-un"])
            .env("SSH_ASKPASS", self.askpass.path().join("askpass"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("LDM_TEST_PASSWORD", password)
            .stdin(std::process::Stdio::null())
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            let name = String::from_utf8(output.stdout)?;
            ensure!(name.trim() == user.name.as_str(), "logged in as {name}");
            return Ok(true);
        }
        if !errors.contains("Permission denied") {
            bail!("ssh failed: {errors}");
        }
        Ok(false)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let deleted = self.runtime.block_on(async {
            // It may be stopped. Deletion reports errors.
            let _ = self.backend.stop(&self.name, true).await;
            self.backend.delete(&self.name).await
        });
        if let Err(error) = deleted {
            eprintln!("{} was left behind: {error:?}", self.name);
        }
    }
}
