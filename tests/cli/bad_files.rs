//! Unusable and read-only files: one clear error, no data loss.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Ran, Workspace, program};

const NOBODY_UID: u32 = 65534;

fn expect(ran: &Ran, what: &str, words: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(1), "{what}: {ran:#?}");
    let errors = ran.stderr.matches("error:").count();
    ensure!(errors == 1, "{what}: {errors} errors: {ran:#?}");
    for word in ["containers.yaml", "hint:"].iter().chain(words) {
        ensure!(ran.stderr.contains(word), "{what}: no {word:?}: {ran:#?}");
    }
    Ok(())
}

/// Checks reading and writing commands.
fn ensure_refused(workspace: &Workspace, what: &str, words: &[&str]) -> Result<()> {
    let image = image();
    for arguments in [
        &["list"][..],
        &["container", "create", "new", &image],
        &["container", "snapshot", "create", "dev", "s"],
        &["remove", "-f", "dev"],
    ] {
        expect(
            &workspace.run(arguments)?,
            &format!("{what}: {arguments:?}"),
            words,
        )?;
    }
    Ok(())
}

pub fn invalid_files_are_rejected(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    let huge = [b"project: a\n".as_slice(), &vec![b'#'; 10 << 20]].concat();
    for (what, bytes, words) in [
        (
            "half",
            b"project: a\ncontainers:\n  dev: {image: \"x".as_slice(),
            &["line 3"][..],
        ),
        ("binary", b"\x7fELF\x02\x01\0\0\xff\xfe", &["not UTF-8"]),
        ("controls", b"project: a\x07\n", &["line 1"]),
        ("utf-16", b"\xff\xfep\0r\0o\0", &["not UTF-8 in line 1"]),
        ("huge", &huge, &["bytes"]),
        (
            "duplicate",
            b"project: a\nproject: b\n",
            &["project", "line 2"],
        ),
        (
            "twice",
            b"containers:\n  dev: {}\n  dev: {}\n",
            &["duplicate env `dev`", "line"],
        ),
        ("list", b"- dev\n", &["line 1", "a map"]),
        ("text", b"just words\n", &["line 1", "a map"]),
        (
            "type",
            b"containers:\n  dev:\n    cpus: many\n",
            &["line 3", "cpus"],
        ),
        (
            "ports",
            b"containers:\n  dev: {ports: http}\n",
            &["line 2", "ports"],
        ),
        (
            "user",
            b"containers:\n  dev: {user: ada}\n",
            &["line 2", "`name`"],
        ),
        (
            "anchor",
            b"containers:\n  dev: *base\n",
            &["anchor", "line 2"],
        ),
        ("tabs", b"containers:\n\tdev: {}\n", &["line 2"]),
        ("name", b"containers:\n  -x: {}\n", &["`-x`"]),
        ("path", b"containers:\n  ../x: {}\n", &["`../x`"]),
        (
            "shell",
            b"project: $(touch /pwned)\n",
            &["`$(touch /pwned)`"],
        ),
        (
            "two",
            b"project: a\n---\nproject: b\n",
            &["more than one document"],
        ),
    ] {
        fs::write(&path, bytes)?;
        ensure_refused(&workspace, what, words)?;
        ensure!(fs::read(&path)? == bytes, "{what}: the file was changed");
    }
    ensure!(workspace.instances()?.is_empty(), "instance left over");
    Ok(())
}

pub fn non_regular_files_are_rejected(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    // A file in a parent directory must not be used instead.
    fs::rename(&path, workspace.root.path().join("containers.yaml"))?;
    fs::create_dir(&path)?;
    ensure_refused(&workspace, "directory", &["a directory"])?;
    fs::remove_dir(&path)?;
    symlink("nowhere", &path)?;
    ensure_refused(&workspace, "link", &["broken symbolic link"])?;
    fs::remove_file(&path)?;
    ensure!(Command::new("mkfifo").arg(&path).status()?.success());
    ensure_refused(&workspace, "pipe", &["a pipe"])
}

pub fn unreadable_files_are_rejected(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    let before = workspace.file()?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    // A copy, because the build directory may be private.
    let copy = workspace.root.path().join("ldm");
    // Copied by another process: a descriptor open for writing in a forked child would cause ETXTBSY.
    let copied = Command::new("cp")
        .arg(program("lxc-dev-manager")?)
        .arg(&copy)
        .status()?;
    ensure!(copied.success());
    for open in [workspace.root.path(), &workspace.directory()] {
        fs::set_permissions(open, Permissions::from_mode(0o755))?;
    }
    let mut command = Command::new(&copy);
    command.arg("list").current_dir(workspace.directory());
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("LDM_HOME", "/nonexistent");
    let ran: Ran = command.uid(NOBODY_UID).gid(NOBODY_UID).output()?.into();
    ensure!(ran.code == Some(1), "{ran:#?}");
    for word in ["cannot read", "containers.yaml", "ermission denied"] {
        ensure!(ran.stderr.contains(word), "no {word:?}: {ran:#?}");
    }
    ensure!(workspace.file()? == before, "the file was changed");
    Ok(())
}

pub fn read_only_files_are_not_changed(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    let before = workspace.file()?;
    fs::set_permissions(&path, Permissions::from_mode(0o444))?;
    workspace.ok(&["list"])?;
    let ran = workspace.run(&["container", "create", "dev", &image()])?;
    expect(&ran, "read-only", &["read-only", "chmod u+w"])?;
    // A lossy edit is also detected before anything is created.
    fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    let aliased = format!(
        "project: {}\nbase: &b {{image: x}}\ncontainers:\n  dev: *b\n",
        workspace.project
    );
    fs::write(&path, &aliased)?;
    let ran = workspace.run(&["container", "create", "dev", &image()])?;
    expect(&ran, "alias", &["line 4", "by hand"])?;
    ensure!(workspace.file()? == aliased, "the file was changed");
    ensure!(workspace.instances()?.is_empty(), "instance left over");
    ensure!(!before.is_empty());
    Ok(())
}

/// Bind-mounts the first file over the second and executes the rest.
const MOUNTED: &str = r#"mount --bind "$1" "$2" && shift 2 && exec "$@""#;

pub fn bind_mounted_file_is_written_in_place(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    let real = workspace.root.path().join("real.yaml");
    let text = format!(
        "{}# kept, and longer than what is written over it\n",
        workspace.file()?
    );
    fs::write(&real, &text)?;
    let inode = fs::metadata(&real)?.ino();
    let mut command = Command::new("unshare");
    // A normal user becomes root of a user namespace.
    if fs::metadata("/proc/self")?.uid() != 0 {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", MOUNTED, "sh"]);
    command
        .arg(&real)
        .arg(&path)
        .arg(program("lxc-dev-manager")?);
    command.args(["container", "create", "dev", &image()]);
    command
        .current_dir(workspace.directory())
        .env_clear()
        .envs(workspace.variables());
    let ran: Ran = command.output()?.into();
    ensure!(ran.code == Some(0), "{ran:#?}");
    let written = fs::read_to_string(&real)?;
    ensure!(
        written.contains("dev:") && written.contains("# kept, and longer"),
        "{written}"
    );
    ensure!(fs::metadata(&real)?.ino() == inode, "it is another file");
    let names = fs::read_dir(workspace.directory())?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<_> = names.collect::<Result<_>>()?;
    ensure!(names == ["containers.yaml"], "left-over files: {names:?}");
    Ok(())
}
