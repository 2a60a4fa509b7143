//! Clear errors without left-overs.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use crate::frozen::ask;
use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Ran, Workspace, program};

const NOBODY_UID: u32 = 65534;

fn expect(ran: &Ran, code: i32, words: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(code), "not {code}: {ran:#?}");
    for word in words {
        ensure!(ran.stderr.contains(word), "no {word:?}: {ran:#?}");
    }
    ensure!(
        !ran.stderr.contains("Usage:") || code == 2,
        "usage printed: {ran:#?}"
    );
    Ok(())
}

pub fn fails_without_engine(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let before = workspace.file()?;
    let mut command = workspace.command(&["container", "create", "dev", "debian:12"])?;
    command.env(
        engine.variable(),
        workspace.root.path().join("nowhere.sock"),
    );
    expect(
        &command.output()?.into(),
        3,
        &["no engine is reachable", "nowhere.sock", "hint:"],
    )?;
    ensure!(workspace.file()? == before, "the file was changed");
    let journal = workspace.home().join("journal");
    ensure!(
        std::fs::read_dir(journal)?.count() == 0,
        "journal left over"
    );
    Ok(())
}

pub fn fails_without_permission(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    // A copy, because the build directory may be private.
    let copy = workspace.root.path().join("ldm");
    std::fs::copy(program("lxc-dev-manager")?, &copy)?;
    let open = std::fs::Permissions::from_mode(0o755);
    for path in [
        workspace.root.path(),
        &workspace.directory(),
        &workspace.root.path().join("home"),
    ] {
        std::fs::set_permissions(path, open.clone())?;
    }
    let home = workspace.root.path().join("nobody");
    std::fs::create_dir(&home)?;
    std::os::unix::fs::chown(&home, Some(NOBODY_UID), Some(NOBODY_UID))?;
    // The socket exists but its mode denies access, as for a user outside of the group.
    let mut command = std::process::Command::new(&copy);
    command
        .args(["container", "create", "dev", "debian:12"])
        .current_dir(workspace.directory());
    command
        .env_clear()
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", &home);
    command
        .env(engine.variable(), &engine.socket)
        .uid(NOBODY_UID)
        .gid(NOBODY_UID);
    let ran: Ran = command.output()?.into();
    expect(&ran, 3, &["no permission to use", "group"])
}

pub fn rejects_unknown_image(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let before = workspace.file()?;
    let ran = workspace.run(&["container", "create", "dev", "no-such-image"])?;
    expect(
        &ran,
        1,
        &[
            "cannot create `dev`",
            "no image `no-such-image`",
            "debian/12",
        ],
    )?;
    ensure!(workspace.instances()?.is_empty(), "instance left over");
    ensure!(workspace.file()? == before, "the file was changed");
    Ok(())
}

pub fn rejects_existing_name(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    let ran = workspace.run(&["container", "create", "dev", &image()])?;
    expect(&ran, 1, &["already has an instance", "up dev"])?;
    // Another project whose env has the same instance name.
    let other = workspace.root.path().join("other");
    std::fs::create_dir(&other)?;
    std::fs::write(other.join("containers.yaml"), "containers:\n")?;
    let name = format!("{}-dev", workspace.project);
    let mut command = workspace.command(&["container", "create", &name, &image()])?;
    expect(
        &command.current_dir(&other).output()?.into(),
        1,
        &["belongs to project", &workspace.project],
    )?;
    ensure!(workspace.file()? == before, "the file was changed");
    ensure!(
        workspace.instances()?.len() == 1,
        "{:?}",
        workspace.instances()?
    );
    Ok(())
}

pub fn rejects_invalid_files(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    for (text, word) in [
        ("project: [1, 2\n", "line"),
        (
            "containers: {dev: {image: x}, DEV: {image: x}}\n",
            "differ by more than case",
        ),
        ("containers: {list: {image: x}}\n", "reserved word"),
        (
            "containers: {dev: {image: x, ports: [80, 80]}}\n",
            "duplicate",
        ),
        (
            "containers: {dev: {image: x, memory: lots}}\n",
            "invalid size",
        ),
        (
            "containers: {dev: {image: x, user: {name: \"x; rm -rf /\"}}}\n",
            "invalid name",
        ),
        (
            "containers: {dev: {image: x, user: {password: \"a\\nb\"}}}\n",
            "line break",
        ),
    ] {
        std::fs::write(&path, text)?;
        let ran = workspace.run(&["container", "create", "dev", &image()])?;
        expect(&ran, 1, &[word])?;
        ensure!(
            std::fs::read_to_string(&path)? == text,
            "the file was changed"
        );
    }
    ensure!(workspace.instances()?.is_empty(), "instance left over");
    Ok(())
}

pub fn rejects_invalid_arguments(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    expect(
        &workspace.run(&["up", "2dev"])?,
        2,
        &["start with a letter"],
    )?;
    expect(&workspace.run(&["down"])?, 2, &["Usage:"])?;
    expect(&workspace.run(&["up"])?, 1, &["there are no envs yet"])?;
    expect(
        &workspace.run(&["up", "nope"])?,
        1,
        &["no env `nope`", "container create nope"],
    )?;
    expect(
        &workspace.run(&["exec", "nope", "--", "true"])?,
        125,
        &["no env `nope`"],
    )?;
    let ran = workspace.run(&["--json", "up", "nope"])?;
    let error: serde_json::Value = serde_json::from_str(&ran.stderr)?;
    ensure!(
        error["schema"] == 1 && error["error"]["kind"] == "not-found",
        "{error}"
    );
    ensure!(
        error["error"]["hint"].is_string() && ran.stdout.is_empty(),
        "{ran:?}"
    );
    Ok(())
}

pub fn removal_needs_confirmation(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    expect(
        &workspace.run(&["remove", "dev"])?,
        1,
        &["`-f`", "one snapshot"],
    )?;
    ensure!(workspace.instances()?.len() == 1, "env was removed");
    Ok(())
}

pub fn failed_start_shows_the_log_of_the_engine(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["down", "dev"])?;
    // An ID that this host lets no instance have.
    let path = format!("/1.0/instances/{}-dev", workspace.project);
    let body = r#"{"config":{"raw.idmap":"uid 54321 1000"}}"#;
    ask(&engine.socket, "PATCH", &path, body)?;
    let ran = workspace.run(&["up", "dev"])?;
    ensure!(ran.code == Some(3), "{ran:#?}");
    // Not only "exit status 1".
    for words in ["does not start", "[54321-54322) not allowed"] {
        ensure!(ran.stderr.contains(words), "no {words:?}: {ran:#?}");
    }
    Ok(())
}
