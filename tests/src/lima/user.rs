//! Tests as an ordinary user, started by root.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::{Limactl, setting};

pub(super) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Directory of a test's stage on a certain volume.
pub(super) const VOLUME: &str = "LDM_TEST_VOLUME";
const VOLUME_BYTES: u64 = 4 << 30;
/// Mounts an image ($1) at a directory ($2), gives that to a user ($3), and runs the rest.
const MOUNT: &str = r#"mount -o loop "$1" "$2" && chown "$3" "$2" && shift 3 && exec "$@""#;

/// A user, and a directory with copies of the programs: only root may be able to read the build directory.
pub(super) struct Delegate {
    directory: TempDir,
    test: PathBuf,
    user: String,
}

impl Delegate {
    pub(super) fn new(limactls: &[Limactl]) -> Result<Self> {
        let user = setting("LDM_TEST_LIMA_USER")?;
        let directory = tempfile::Builder::new()
            .prefix("ldm-lima-")
            .tempdir_in("/var/tmp")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let own = std::env::current_exe()?;
        let test = directory.path().join("test");
        lay_out(&own, &test)?;
        for limactl in limactls.iter().filter(|limactl| limactl.fake) {
            lay_out(&limactl.path, &directory.path().join("limactl"))?;
        }
        // Started by tests of the command line, if it is built.
        let built = own.parent().and_then(Path::parent);
        let built = built.map(|directory| directory.join("lxc-dev-manager"));
        if let Some(built) = built.filter(|path| path.is_file()) {
            lay_out(&built, &directory.path().join("lxc-dev-manager"))?;
        }
        Ok(Self {
            directory,
            test,
            user,
        })
    }

    /// The directory of the copies.
    pub(super) fn into_directory(self) -> TempDir {
        self.directory
    }

    /// This program as the user.
    pub(super) fn command(&self) -> Command {
        self.as_user(Command::new("setpriv"))
    }

    /// The arguments of `setpriv`, with which a command line ends.
    fn as_user(&self, mut command: Command) -> Command {
        command
            .arg(format!("--reuid={}", self.user))
            .arg(format!("--regid={}", self.user))
            .args(["--clear-groups", "--"])
            .arg(&self.test)
            .current_dir(self.directory.path())
            // Root's are not accessible.
            .env("HOME", self.directory.path())
            .env("USER", &self.user)
            // It needs no other engines, not even required ones.
            .env_remove("CI")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Runs one test of this program.
    pub(super) fn run(&self, name: &str) -> Result<()> {
        ensure_passed(self.command(), name)
    }

    /// The same on a private volume. `make` creates a file system in the file given as its last argument.
    pub(super) fn run_on_volume(&self, name: &str, make: &[&str]) -> Result<()> {
        let place = tempfile::Builder::new()
            .prefix("lv")
            .tempdir_in("/var/tmp")?;
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755))?;
        let (image, volume) = (place.path().join("image"), place.path().join("v"));
        fs::File::create(&image)?.set_len(VOLUME_BYTES)?;
        fs::create_dir(&volume)?;
        let made = Command::new(make[0]).args(&make[1..]).arg(&image).output();
        let made = made.with_context(|| format!("cannot run {}", make[0]))?;
        ensure!(made.status.success(), "{make:?}: {made:?}");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--", "sh", "-c", MOUNT, "sh"])
            .args([&image, &volume])
            .args([&self.user, "setpriv"])
            .env(VOLUME, &volume);
        ensure_passed(self.as_user(command), name)
    }
}

/// Runs one test, and fails unless it has run.
fn ensure_passed(mut command: Command, name: &str) -> Result<()> {
    let output = command
        .args(["--exact", "--nocapture", "--color=never", name])
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // Indented, so that its lines are not counted as results of this process.
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("{}", all.replace('\n', "\n  | "));
    }
    // A name unknown to the other process runs no test, successfully.
    if !text.contains("1 passed") {
        bail!("{name} was not run: {text}");
    }
    Ok(())
}

/// A link if possible, because test programs are large.
fn lay_out(program: &Path, copy: &Path) -> Result<()> {
    if let Err(error) = fs::hard_link(program, copy) {
        // It may be the same file, which copying would empty.
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            bail!("{} is laid out already", copy.display());
        }
        fs::copy(program, copy).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    // A link has the mode of the program.
    if fs::metadata(copy)?.permissions().mode() & 0o005 != 0o005 {
        fs::remove_file(copy)?;
        fs::copy(program, copy)?;
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
