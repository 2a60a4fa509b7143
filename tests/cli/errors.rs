//! Clear errors, and nothing left behind.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Ran, Workspace, program};

/// An account that may talk to no engine.
const NOBODY: u32 = 65534;

fn expect(ran: &Ran, code: i32, words: &[&str]) -> Result<()> {
    ensure!(ran.code == Some(code), "not {code}: {ran:#?}");
    for word in words {
        ensure!(ran.stderr.contains(word), "no {word:?}: {ran:#?}");
    }
    ensure!(
        !ran.stderr.contains("Usage:") || code == 2,
        "usage in an error: {ran:#?}"
    );
    Ok(())
}

pub fn without_an_engine(engine: &TestEngine) -> Result<()> {
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
        &["no engine answers", "nowhere.sock", "hint:"],
    )?;
    ensure!(workspace.file()? == before, "the file was changed");
    let journal = workspace.home().join("journal");
    ensure!(
        std::fs::read_dir(journal)?.count() == 0,
        "a journal was left"
    );
    Ok(())
}

pub fn without_permission(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    // A copy, because nobody may not read a build directory that is private.
    let copy = workspace.root.path().join("ldm");
    std::fs::copy(program("lxc-dev-manager")?, &copy)?;
    let open = std::fs::Permissions::from_mode(0o777);
    for path in [
        workspace.root.path(),
        &workspace.directory(),
        &workspace.root.path().join("home"),
    ] {
        std::fs::set_permissions(path, open.clone())?;
    }
    let home = workspace.root.path().join("nobody");
    std::fs::create_dir(&home)?;
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY))?;
    // Reachable by name, closed by mode: what a user outside of the group meets.
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
        .uid(NOBODY)
        .gid(NOBODY);
    let ran: Ran = command.output()?.into();
    expect(&ran, 3, &["no permission to talk to", "group"])
}

pub fn an_unknown_image(engine: &TestEngine) -> Result<()> {
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
    ensure!(workspace.instances()?.is_empty(), "an instance was left");
    ensure!(workspace.file()? == before, "the file was changed");
    Ok(())
}

pub fn a_name_that_exists(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let before = workspace.file()?;
    let ran = workspace.run(&["container", "create", "dev", &image()])?;
    expect(&ran, 1, &["has instance", "already", "up dev"])?;
    // Another project, in another directory, whose names come to the same instance.
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

pub fn files_that_can_not_be_used(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    let path = workspace.directory().join("containers.yaml");
    for (text, word) in [
        ("project: [1, 2\n", "line"),
        (
            "containers: {dev: {image: x}, DEV: {image: x}}\n",
            "upper or lower case",
        ),
        ("containers: {list: {image: x}}\n", "command"),
        ("containers: {dev: {image: x, ports: [80, 80]}}\n", "twice"),
        ("containers: {dev: {image: x, memory: lots}}\n", "no size"),
        (
            "containers: {dev: {image: x, user: {name: \"x; rm -rf /\"}}}\n",
            "can't be the name",
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
    ensure!(workspace.instances()?.is_empty(), "an instance was left");
    Ok(())
}

pub fn names_and_usage(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    expect(
        &workspace.run(&["up", "2dev"])?,
        2,
        &["start with a letter"],
    )?;
    expect(&workspace.run(&["down"])?, 2, &["Usage:"])?;
    expect(&workspace.run(&["up"])?, 1, &["there are none yet"])?;
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

pub fn removal_without_a_terminal(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    expect(
        &workspace.run(&["remove", "dev"])?,
        1,
        &["`-f`", "one snapshot"],
    )?;
    ensure!(workspace.instances()?.len() == 1, "it was removed");
    Ok(())
}
