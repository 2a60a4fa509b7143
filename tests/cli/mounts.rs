//! Mounts: whose files they show, and what a guest cannot do with them.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{TestEngine, image};
use lxc_dev_manager_tests::workspace::{Ran, Workspace};

/// A trusted project of a plain user with an env `dev` that has these lines; not yet created.
fn project(engine: &TestEngine, below: &str) -> Result<Workspace> {
    let workspace = Workspace::of_plain_user(engine)?;
    write(&workspace, below)?;
    Ok(workspace)
}

fn write(workspace: &Workspace, below: &str) -> Result<()> {
    let (project, image) = (&workspace.project, image());
    let text = format!(
        "project: {project}\ncontainers:\n  dev:\n    image: {image}\n    ports: []\n{below}"
    );
    let path = workspace.directory().join("containers.yaml");
    fs::write(&path, text)?;
    workspace.give(&path)?;
    workspace.ok(&["trust", "--force"]).map(drop)
}

fn make_directory(workspace: &Workspace, below: &str) -> Result<()> {
    let path = workspace.directory().join(below);
    fs::create_dir(&path)?;
    workspace.give(&path)
}

fn in_env(workspace: &Workspace, script: &str) -> Result<Ran> {
    workspace.run(&["exec", "dev", "--", "sh", "-c", script])
}

fn ensure_refused(ran: &Ran, words: &[&str]) -> Result<()> {
    ensure!(ran.code != Some(0), "{ran:#?}");
    for words in words {
        ensure!(ran.stderr.contains(words), "no {words:?}: {ran:#?}");
    }
    Ok(())
}

pub fn files_belong_to_the_caller_and_not_to_root(engine: &TestEngine) -> Result<()> {
    // In the user's home, which is still created with its usual files.
    let mounts = "    mounts: [{host: shared, guest: /home/dev/deep/shared}]\n";
    let workspace = Workspace::of_plain_user(engine)?;
    make_directory(&workspace, "shared")?;
    write(&workspace, mounts)?;
    workspace.ok(&["up"])?;
    let shared = workspace.directory().join("shared");
    let made = in_env(
        &workspace,
        "touch ~/deep/shared/mine && test -O ~/deep/shared/mine && test -O ~/.bashrc && touch ~/x || exit 1
         sudo sh -c 'cp /bin/true /home/dev/deep/shared/r; chmod 4777 /home/dev/deep/shared/r'",
    )?;
    ensure!(made.code == Some(0), "{made:#?}");
    let owner = |name: &str| -> Result<u32> { Ok(fs::metadata(shared.join(name))?.uid()) };
    ensure!(owner("mine")? == workspace.uid(), "{made:#?}");
    // Root of the guest is neither root nor the caller here.
    ensure!(![0, workspace.uid()].contains(&owner("r")?), "{made:#?}");
    // The same after a restart, and after another mount was added.
    make_directory(&workspace, "more")?;
    let more = "    mounts: [{host: shared, guest: /home/dev/deep/shared}, {host: more, guest: /more, readonly: true}]\n";
    write(&workspace, more)?;
    workspace.ok(&["config", "apply", "dev"])?;
    workspace.ok(&["down", "dev"])?;
    workspace.ok(&["up", "dev"])?;
    let again = in_env(&workspace, "touch ~/deep/shared/again && ! touch /more/x")?;
    ensure!(again.code == Some(0), "{again:#?}");
    ensure!(owner("again")? == workspace.uid());
    ensure!(!workspace.directory().join("more/x").exists());
    // A clone writes as the same user.
    workspace.ok(&["container", "clone", "dev", "copy"])?;
    workspace.ok(&["exec", "copy", "--", "touch", "deep/shared/copy"])?;
    ensure!(owner("copy")? == workspace.uid());
    Ok(())
}

pub fn host_is_protected_from_a_writable_project(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::of_plain_user(engine)?;
    for directory in [".git", ".git/hooks", ".git/objects"] {
        make_directory(&workspace, directory)?;
    }
    for file in [".git/HEAD", ".git/config"] {
        let path = workspace.directory().join(file);
        fs::write(&path, "ref: refs/heads/main\n")?;
        workspace.give(&path)?;
    }
    write(&workspace, "    mounts: [{host: ., guest: /work}]\n")?;
    workspace.ok(&["up"])?;
    let attack = "cd /work && touch new .git/objects/o && { \
        echo x >.git/hooks/pre-commit; echo x >>.git/config; echo x >>containers.yaml; mv .git other; \
        rm -rf .git/hooks; mv containers.yaml y; rm containers.yaml; } 2>/dev/null; ls -A .git/hooks";
    let before = workspace.file()?;
    let done = in_env(&workspace, attack)?;
    ensure!(done.stdout.is_empty(), "{done:#?}");
    let directory = workspace.directory();
    ensure!(directory.join("new").exists() && directory.join(".git/objects/o").exists());
    ensure!(workspace.file()? == before);
    ensure!(fs::read_to_string(directory.join(".git/config"))? == "ref: refs/heads/main\n");
    ensure!(fs::read_dir(directory.join(".git/hooks"))?.next().is_none());
    // By choice, which is asked about in words.
    write(
        &workspace,
        "    git: writable\n    mounts: [{host: ., guest: /work}]\n",
    )?;
    let shown = workspace.ok(&["trust", "--show"])?;
    ensure!(
        shown.contains("writable with git's hooks and settings"),
        "{shown}"
    );
    ensure_refused(
        &workspace.run(&["config", "apply", "dev"])?,
        &["cannot unmount /work/.git", "`lxc-dev-manager down dev`"],
    )?;
    workspace.ok(&["down", "dev"])?;
    workspace.ok(&["config", "apply", "dev"])?;
    workspace.ok(&["up", "dev"])?;
    workspace.ok(&["exec", "dev", "--", "touch", "/work/.git/hooks/h"])?;
    ensure!(directory.join(".git/hooks/h").exists());
    Ok(())
}

pub fn moved_source_stops_the_start(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::of_plain_user(engine)?;
    make_directory(&workspace, "shared")?;
    write(&workspace, "    mounts: [{host: shared, guest: /work}]\n")?;
    workspace.ok(&["up"])?;
    workspace.ok(&["down", "dev"])?;
    let shared = workspace.directory().join("shared");
    fs::remove_dir(&shared)?;
    ensure_refused(&workspace.run(&["up", "dev"])?, &["cannot mount", "shared"])?;
    symlink("/etc", &shared)?;
    ensure_refused(
        &workspace.run(&["up", "dev"])?,
        &["it leads to /etc now", "`lxc-dev-manager config apply`"],
    )?;
    // Nor does applying the file take the link for what was agreed to.
    ensure_refused(
        &workspace.run(&["config", "apply", "dev"])?,
        &["is not trusted", "mounts /etc at /work"],
    )?;
    fs::remove_file(&shared)?;
    make_directory(&workspace, "shared")?;
    workspace.ok(&["up", "dev"])?;
    workspace
        .ok(&["exec", "dev", "--", "touch", "/work/x"])
        .map(drop)
}

pub fn restore_keeps_the_mounts_of_the_file(engine: &TestEngine) -> Result<()> {
    let workspace = project(engine, "")?;
    workspace.ok(&["up"])?;
    make_directory(&workspace, "shared")?;
    let file = workspace.file()?;
    let mounted = file.replacen(
        "    ports: []\n",
        "    ports: []\n    memory: 300MiB\n    mounts: [{host: shared, guest: /work}]\n",
        1,
    );
    fs::write(workspace.directory().join("containers.yaml"), mounted)?;
    workspace.ok(&["trust"])?;
    workspace.ok(&["config", "apply", "dev"])?;
    let restored = workspace.run(&["container", "reset", "dev"])?;
    ensure!(restored.code == Some(0), "{restored:#?}");
    let words = "`dev` has the settings of containers.yaml, not those of the snapshot";
    ensure!(restored.stderr.contains(words), "{restored:#?}");
    workspace.ok(&["exec", "dev", "--", "touch", "/work/x"])?;
    let info = workspace.ok(&["--json", "info", "dev"])?;
    ensure!(info.contains(&(300_u64 << 20).to_string()), "{info}");
    Ok(())
}

pub fn root_shares_only_what_others_read(engine: &TestEngine) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let workspace = Workspace::bare(engine)?;
    make_directory(&workspace, "shared")?;
    let shared = workspace.directory().join("shared");
    fs::write(shared.join("open"), "open\n")?;
    fs::write(shared.join("secret"), "secret\n")?;
    fs::set_permissions(shared.join("secret"), fs::Permissions::from_mode(0o600))?;
    write(&workspace, "    mounts: [{host: shared, guest: /work}]\n")?;
    ensure_refused(
        &workspace.run(&["up"])?,
        &["writable for root", "add `readonly: true`"],
    )?;
    ensure!(workspace.instances()?.is_empty());
    write(
        &workspace,
        "    mounts: [{host: shared, guest: /work, readonly: true}]\n",
    )?;
    workspace.ok(&["up"])?;
    let seen = in_env(&workspace, "cat /work/open; sudo cat /work/secret")?;
    ensure!(seen.stdout == "open\n" && seen.code != Some(0), "{seen:#?}");
    ensure!(in_env(&workspace, "sudo touch /work/x")?.code != Some(0));
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o700))?;
    ensure_refused(
        &workspace.run(&["config", "apply"])?,
        &["is private to its owner"],
    )
}

pub fn impossible_mounts_are_refused_before_creation(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::of_plain_user(engine)?;
    for directory in ["a", "a/b"] {
        make_directory(&workspace, directory)?;
    }
    for (mounts, words) in [
        (
            "{host: a, guest: /a}, {host: a/b, guest: /b}",
            "is in the writable mount of",
        ),
        (
            "{host: a, guest: /a}, {host: ., guest: /a/c, readonly: true}",
            "is in the writable mount of",
        ),
        ("{host: nowhere, guest: /a}", "does not exist"),
    ] {
        let file = format!("    mounts: [{mounts}]\n");
        write(&workspace, &file)?;
        ensure_refused(&workspace.run(&["up"])?, &[words])?;
        ensure!(workspace.instances()?.is_empty(), "{mounts}");
    }
    Ok(())
}
