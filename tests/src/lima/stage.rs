//! A private `LIMA_HOME` for one test.

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::backend::lima;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use super::{Limactl, setting};

/// Allows for tests in parallel.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Allows for an emulated VM.
const VM_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

#[derive(Debug, Clone)]
pub struct Output {
    /// -1 after a signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A logged call of the stand-in.
#[derive(Debug, Clone, Deserialize)]
pub struct Call {
    pub args: Vec<String>,
    pub cwd: PathBuf,
    /// `XPC_SERVICE_NAME`.
    pub service: Option<String>,
    pub pid: u32,
}

/// System of the stand-in's guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guest {
    /// Small and fast.
    Busybox,
    /// With Perl.
    Debian,
}

impl Guest {
    fn setting(self) -> &'static str {
        match self {
            Self::Busybox => "LDM_TEST_LIMA_IMAGE",
            Self::Debian => "LDM_TEST_LIMA_DEBIAN_IMAGE",
        }
    }
}

/// A private `LIMA_HOME`, home and working directory. Drop ends all processes of its instances.
pub struct LimaStage {
    limactl: Limactl,
    directory: TempDir,
}

impl LimaStage {
    /// Uses a short path, because of the limit for socket paths.
    pub fn new(limactl: &Limactl) -> Result<Self> {
        let volume = std::env::var(super::user::VOLUME).unwrap_or_else(|_| "/var/tmp".into());
        let directory = tempfile::Builder::new().prefix("lm").tempdir_in(volume)?;
        for name in ["l/.fake", "home", "run", "cwd"] {
            fs::create_dir_all(directory.path().join(name))?;
        }
        let stage = Self {
            limactl: limactl.clone(),
            directory,
        };
        fs::write(stage.control().join("calls.jsonl"), "")?;
        Ok(stage)
    }

    pub fn limactl(&self) -> &Path {
        &self.limactl.path
    }

    pub fn is_fake(&self) -> bool {
        self.limactl.fake
    }

    /// `LIMA_HOME`.
    pub fn lima_home(&self) -> PathBuf {
        self.directory.path().join("l")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn instance(&self, name: &str) -> PathBuf {
        self.lima_home().join(name)
    }

    fn control(&self) -> PathBuf {
        self.lima_home().join(".fake")
    }

    /// Sets the simulated faults; see `main.rs` of the stand-in.
    pub fn faults(&self, lines: &[&str]) -> Result<()> {
        // Atomic, because host agents read it.
        let new = self.control().join("faults.new");
        fs::write(&new, lines.join("\n"))?;
        fs::rename(new, self.control().join("faults"))?;
        Ok(())
    }

    /// All calls, including those of host agents.
    pub fn calls(&self) -> Result<Vec<Call>> {
        let text = fs::read_to_string(self.control().join("calls.jsonl"))?;
        let call = |line: &str| serde_json::from_str(line).context("a line of the calls' log");
        text.lines().map(call).collect()
    }

    pub fn called(&self, command: &str) -> Result<usize> {
        let is_it = |call: &Call| call.args.iter().any(|word| word == command);
        Ok(self.calls()?.into_iter().filter(is_it).count())
    }

    /// Fills the disk of a stopped instance from offset `begin`, after the stand-in's tar.
    pub fn fill_disk(&self, name: &str, begin: u64, bytes: u64) -> Result<()> {
        let mut file = fs::File::options()
            .write(true)
            .open(self.instance(name).join("disk"))?;
        let length = file.metadata()?.len();
        ensure!(length >= begin + bytes, "the disk is too small: {length}");
        file.seek(SeekFrom::Start(begin))?;
        let block: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 251) as u8).collect();
        for _ in 0..bytes >> 20 {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        Ok(())
    }

    /// limactl in the environment of this stage, not started.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(self.limactl());
        command
            .args(args)
            .env("LIMA_HOME", self.lima_home())
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env_remove("XPC_SERVICE_NAME")
            .current_dir(self.path("cwd"))
            .stdin(Stdio::null());
        command
    }

    /// Runs limactl to its end.
    pub fn call<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        let output = self.command(args).output()?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs limactl, which has to succeed; returns its stdout.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, args: &[S]) -> Result<String> {
        let output = self.call(args)?;
        ensure!(output.code == 0, "{args:?}: {output:?}");
        Ok(output.stdout)
    }

    /// Runs limactl, which has to fail with code 1 and these words on stderr.
    pub fn refused<S: AsRef<OsStr> + std::fmt::Debug>(
        &self,
        args: &[S],
        words: &str,
    ) -> Result<Output> {
        let output = self.call(args)?;
        ensure!(output.code == 1, "{args:?}: {output:?}");
        ensure!(output.stderr.contains(words), "{args:?}: {output:?}");
        Ok(output)
    }

    /// Our backend on this `LIMA_HOME`, with templates of the test images.
    pub fn backend(&self, guest: Guest) -> Result<lima::Lima> {
        let templates = self.path("templates");
        fs::create_dir_all(&templates)?;
        let images = if self.is_fake() {
            Some(images(&setting(guest.setting())?))
        } else {
            // A cloud kernel, as in Debian's own images, may lack 9p.
            real_disk().map(|disk| {
                format!(
                    "{}cpus: 2\nmemory: 1GiB\nmountTypesUnsupported: [9p]\n",
                    images(&disk)
                )
            })
        };
        if let Some(images) = images {
            fs::write(templates.join("debian-12.yaml"), images)?;
        }
        Ok(lima::Lima::new(lima::Environment {
            limactl: Some(self.limactl().to_path_buf()),
            path: std::env::var_os("PATH"),
            user_home: Some(self.path("home")),
            lima_home: self.lima_home(),
            empty: self.path("run/empty"),
            templates,
        }))
    }

    /// Image of the guests: `images:` or `base:` of a lima.yaml.
    pub fn image(&self) -> Result<String> {
        match (self.is_fake(), real_disk()) {
            (true, _) => Ok(images(&setting("LDM_TEST_LIMA_IMAGE")?)),
            (false, Some(disk)) => Ok(images(&disk)),
            (false, None) => Ok("base: template:_images/alpine-3.22\n".into()),
        }
    }

    /// Writes a lima.yaml with a small guest, plus `more`.
    pub fn yaml(&self, more: &str) -> Result<PathBuf> {
        let text = format!(
            "{}cpus: 1\nmemory: 1GiB\ndisk: 5GiB\nmounts: []\ncontainerd: {{system: false, user: false}}\n\
             user: {{name: dev, uid: 1000, home: /home/dev}}\n{more}",
            self.image()?
        );
        let path = self.path("lima.yaml");
        fs::write(&path, text)?;
        Ok(path)
    }

    pub fn create(&self, name: &str, more: &str) -> Result<()> {
        let yaml = self.yaml(more)?;
        let name = format!("--name={name}");
        let yaml = yaml.to_string_lossy().into_owned();
        self.ok(&["create", "--tty=false", &name, &yaml]).map(drop)
    }

    pub fn running(&self, name: &str, more: &str) -> Result<()> {
        self.create(name, more)?;
        self.ok(&["start", "--tty=false", name]).map(drop)
    }

    /// Output of a command in the guest.
    pub fn run(&self, name: &str, command: &[&str]) -> Result<String> {
        self.ok(&[&["shell", "--tty=false", "--workdir=/", name], command].concat())
    }

    pub fn list(&self) -> Result<Vec<Value>> {
        let text = self.ok(&["list", "--json"])?;
        let line = |line: &str| serde_json::from_str(line).context("a line of the list");
        text.lines().map(line).collect()
    }

    /// One instance of [`Self::list`].
    pub fn listed(&self, name: &str) -> Result<Value> {
        let found = self.list()?.into_iter().find(|it| it["name"] == name);
        found.with_context(|| format!("{name} is not listed"))
    }

    pub fn status(&self, name: &str) -> Result<String> {
        let listed = self.listed(name)?;
        Ok(listed["status"].as_str().unwrap_or("none").to_owned())
    }

    /// Events since the last start.
    pub fn events(&self, name: &str) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.instance(name).join("ha.stdout.log"))?;
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let line = |line: &str| serde_json::from_str(line).context("a line of the events");
        complete.lines().map(line).collect()
    }

    /// Waits for a condition.
    pub fn until(&self, what: &str, mut is: impl FnMut() -> Result<bool>) -> Result<()> {
        let timeout = if self.is_fake() { TIMEOUT } else { VM_TIMEOUT };
        let end = Instant::now() + timeout;
        while !is()? {
            ensure!(Instant::now() < end, "timeout: {what}");
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// Last lines of host agents' and guests' logs.
    pub fn traces(&self) -> String {
        let mut text = String::new();
        for name in self.names() {
            for log in ["ha.stderr.log", "serial.log"] {
                let lines = fs::read_to_string(self.instance(&name).join(log)).unwrap_or_default();
                let from = lines.lines().count().saturating_sub(8);
                text.extend(
                    lines
                        .lines()
                        .skip(from)
                        .map(|line| format!("{name}/{log}: {line}\n")),
                );
            }
        }
        text
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.lima_home())
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with(['.', '_']))
            .collect()
    }
}

impl Drop for LimaStage {
    fn drop(&mut self) {
        // Faults would prevent the deletion.
        let _ = fs::remove_file(self.control().join("faults"));
        for name in self.names() {
            let _ = fs::remove_file(self.instance(&name).join("protected"));
            let _ = self.call(&["delete", "-f", &name]);
            let scratch = self.control().join("scratch").join(&name);
            // Pid files that limactl cannot read, or that a test has hidden.
            for path in [
                self.instance(&name).join("ha.pid"),
                self.instance(&name).join("qemu.pid"),
                scratch.join("init.pid"),
            ] {
                kill(&path);
            }
        }
        let scratch = self.control().join("scratch");
        let left = fs::read_dir(&scratch).is_ok_and(|mut left| left.next().is_some());
        if left {
            for entry in fs::read_dir(&scratch).into_iter().flatten().flatten() {
                kill(&entry.path().join("init.pid"));
            }
            // It belongs to IDs of the guests' user namespaces.
            let _ = Command::new("unshare")
                .args([
                    "--user",
                    "--map-auto",
                    "--map-user=1000",
                    "--map-group=1000",
                ])
                .args(["--setuid", "0", "--setgid", "0", "--", "rm", "-rf", "--"])
                .arg(&scratch)
                .status();
        }
    }
}

/// Debian disk with cloud-init for VMs of a real limactl, if the image servers are unreachable.
fn real_disk() -> Option<String> {
    std::env::var("LDM_TEST_LIMA_DISK").ok()
}

fn images(location: &str) -> String {
    let arch = std::env::consts::ARCH;
    format!("images:\n- location: \"{location}\"\n  arch: {arch}\n")
}

/// Kills the process of a pid file, if it is ours.
fn kill(path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pid = text
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let Some(pid) = pid else { return };
    let name =
        fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
    if ["limactl", "unshare"].contains(&name.trim()) || name.starts_with("qemu") {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
