//! Another user of this machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::stage::free_port;
use lxc_dev_manager_tests::workspace::Workspace;

const NEIGHBOUR: u32 = 70_001;

/// A process, killed on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a shell of the neighbour succeeds.
fn neighbour(script: &str) -> Result<bool> {
    let mut command = Command::new("setpriv");
    command.args([
        format!("--reuid={NEIGHBOUR}"),
        format!("--regid={NEIGHBOUR}"),
    ]);
    command.args(["--clear-groups", "sh", "-c", script]);
    Ok(command.output()?.status.success())
}

pub fn state_and_sockets_are_private(engine: &TestEngine) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "needs root, for another user"
    );
    let workspace = Workspace::bare(engine)?;
    // Only our own directories are closed.
    for directory in ["", "home", "run", "project"] {
        let path = workspace.root.path().join(directory);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let port = free_port()?.to_string();
    workspace.ok(&["create", "-n", &workspace.project, "-p", &port])?;
    workspace.create("dev")?;
    let _proxy = Killed(workspace.command(&["proxy", "dev"])?.spawn()?);
    let started = std::time::Instant::now();
    let socket = loop {
        let runtime = workspace.home().join("run");
        let found = fs::read_dir(&runtime).into_iter().flatten().flatten();
        let sockets = found.map(|entry| entry.path());
        if let Some(socket) =
            { sockets }.find(|path| path.extension().is_some_and(|kind| kind == "sock"))
        {
            break socket;
        }
        ensure!(
            started.elapsed().as_secs() < 20,
            "no control socket in {}",
            runtime.display()
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    let home = workspace.home();
    ensure!(
        neighbour(&format!("ls {}", workspace.directory().display()))?,
        "the test itself is closed"
    );
    for script in [
        format!("ls {}", home.display()),
        format!("cat {}/projects.json", home.display()),
        format!("find {} -type f | grep .", home.display()),
        format!("stat {}", socket.display()),
        format!(
            "echo x >>{}/containers.yaml",
            workspace.directory().display()
        ),
    ] {
        ensure!(!neighbour(&script)?, "the neighbour could: {script}");
    }
    Ok(())
}

pub fn project_of_a_neighbour_is_not_used(engine: &TestEngine) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "needs root, for another user"
    );
    let workspace = Workspace::bare(engine)?;
    // Like /tmp: everyone may put a file here, and commands look for one from below.
    let shared = workspace.root.path().join("shared");
    let below = shared.join("below");
    fs::create_dir_all(&below)?;
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o1777))?;
    let file = shared.join("containers.yaml");
    fs::write(
        &file,
        format!("project: p\ncontainers: {{dev: {{image: {}}}}}\n", image()),
    )?;
    chown(&file, Some(NEIGHBOUR), Some(NEIGHBOUR))?;
    let below = below.to_str().context("not UTF-8")?;
    for arguments in [&["up"][..], &["list"], &["exec", "dev", "--", "true"]] {
        let ran = workspace.run(&[&["-C", below], arguments].concat())?;
        ensure!(
            ran.code.is_some_and(|code| code != 0),
            "{arguments:?}: {ran:#?}"
        );
        let words = format!("belongs to another user (uid {NEIGHBOUR})");
        ensure!(ran.stderr.contains(&words), "{arguments:?}: {ran:#?}");
    }
    Ok(())
}
