//! Runs tests of root as an ordinary user.

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

/// Directory of the stage on a test volume.
pub(super) const VOLUME: &str = "LDM_TEST_VOLUME";
const VOLUME_BYTES: u64 = 4 << 30;
/// Mounts image `$1` at directory `$2`, changes its owner to `$3`, and runs the rest.
const MOUNT: &str = r#"mount -o loop "$1" "$2" && chown "$3" "$2" && shift 3 && exec "$@""#;

/// The test user, and a directory with copies of the programs: the build directory may be unreadable for the user.
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
        // Needed by tests of the CLI.
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

    pub(super) fn into_directory(self) -> TempDir {
        self.directory
    }

    pub(super) fn command(&self) -> Command {
        self.as_user(Command::new("setpriv"))
    }

    /// Appends arguments of `setpriv` that run this program as the user.
    fn as_user(&self, mut command: Command) -> Command {
        command
            .arg(format!("--reuid={}", self.user))
            .arg(format!("--regid={}", self.user))
            .args(["--clear-groups", "--"])
            .arg(&self.test)
            .current_dir(self.directory.path())
            // Root's are inaccessible.
            .env("HOME", self.directory.path())
            .env("USER", &self.user)
            // Other engines are not required here.
            .env_remove("CI")
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("CARGO_TARGET_DIR")
            .stdin(Stdio::null());
        command
    }

    pub(super) fn run(&self, name: &str) -> Result<()> {
        ensure_passed(self.command(), name)
    }

    /// Runs one test on a private volume, formatted with the command `make FILE`.
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

/// Runs a test; fails if it fails or is not run.
fn ensure_passed(mut command: Command, name: &str) -> Result<()> {
    let output = command
        .args(["--exact", "--nocapture", "--color=never", name])
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        // Indented, so that its lines do not count as results of this process.
        let all = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        bail!("{}", all.replace('\n', "\n  | "));
    }
    // An unknown test name is a success without tests.
    if !text.contains("1 passed") {
        bail!("{name} was not run: {text}");
    }
    Ok(())
}

/// Links if possible: test programs are large.
fn lay_out(program: &Path, copy: &Path) -> Result<()> {
    if let Err(error) = fs::hard_link(program, copy) {
        // Copying a file to itself would empty it.
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            bail!("{} is laid out already", copy.display());
        }
        fs::copy(program, copy).with_context(|| format!("cannot copy {}", program.display()))?;
    }
    // Links share the program's mode.
    if fs::metadata(copy)?.permissions().mode() & 0o005 != 0o005 {
        fs::remove_file(copy)?;
        fs::copy(program, copy)?;
        fs::set_permissions(copy, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}
