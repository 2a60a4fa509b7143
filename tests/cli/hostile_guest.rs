//! Guests that try to reach the host through copies.

use std::fs;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::{Ran, Workspace};

fn in_guest(workspace: &Workspace, script: &str) -> Result<String> {
    workspace.ok(&["exec", "dev", "--", "sh", "-c", script])
}

fn ensure_refused(ran: &Ran, words: &str) -> Result<()> {
    ensure!(ran.code.is_some_and(|code| code != 0), "{ran:#?}");
    ensure!(ran.stderr.contains(words), "no {words:?}: {ran:#?}");
    Ok(())
}

/// The first copy brings a link, the second one a directory of the same name.
pub fn second_copy_does_not_write_through_a_link(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let victim = workspace.root.path().join("home/.ssh");
    fs::create_dir_all(&victim)?;
    fs::write(victim.join("authorized_keys"), "mine\n")?;
    let link = format!("ln -s {}", victim.display());
    in_guest(&workspace, &format!("mkdir d && {link} d/x && {link} top"))?;
    for path in ["dev:d", "dev:top"] {
        workspace.ok(&["mv", path, "."])?;
    }
    let evil = "rm d/x top && mkdir d/x top && echo evil | tee d/a d/x/authorized_keys top/authorized_keys";
    in_guest(&workspace, evil)?;
    for (path, link) in [("dev:d", "d/x"), ("dev:top", "top")] {
        let words = format!("{link} is a symbolic link, and the copy has a directory there");
        ensure_refused(&workspace.run(&["mv", path, "."])?, &words)?;
    }
    ensure!(fs::read_to_string(victim.join("authorized_keys"))? == "mine\n");
    // All or nothing, and nothing is left over.
    ensure!(!workspace.directory().join("d/a").exists(), "partly copied");
    for directory in [workspace.directory(), workspace.directory().join("d")] {
        let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<Result<Vec<_>>>()?;
        let is_staging = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".ldm-");
        ensure!(!names.iter().any(is_staging), "{names:?}");
    }
    // A file replaces the link itself.
    in_guest(&workspace, "rm -r d/x top && echo new | tee d/x top")?;
    for (path, copied) in [("dev:d", "d/x"), ("dev:top", "top")] {
        workspace.ok(&["mv", path, "."])?;
        ensure!(fs::read_to_string(workspace.directory().join(copied))? == "new\n");
    }
    ensure!(fs::read_dir(&victim)?.count() == 1, "files in ~/.ssh");
    // The typed path may be a link.
    std::os::unix::fs::symlink(&victim, workspace.directory().join("typed"))?;
    workspace.ok(&["mv", "dev:d/a", "typed"])?;
    ensure!(victim.join("a").exists(), "a typed link is followed");
    Ok(())
}

/// The same rule in the other direction.
pub fn copy_into_an_env_does_not_write_through_a_link(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    let source = workspace.directory().join("d");
    fs::create_dir_all(source.join("x"))?;
    fs::write(source.join("a"), "new\n")?;
    fs::write(source.join("x/file"), "new\n")?;
    in_guest(
        &workspace,
        "mkdir -p d other && echo old >other/file && ln -s ~/other d/x && ln -s ~/other/file d/a",
    )?;
    let words = "d/x is a symbolic link, and the copy has a directory there";
    ensure_refused(&workspace.run(&["mv", "d", "dev:"])?, words)?;
    let seen = in_guest(
        &workspace,
        "cat other/file; test -L d/a && ls -A ~ | grep -c ldm- || true",
    )?;
    ensure!(seen == "old\n0\n", "{seen}");
    in_guest(&workspace, "rm d/x")?;
    workspace.ok(&["mv", "d", "dev:"])?;
    let seen = in_guest(
        &workspace,
        "cat other/file d/a d/x/file; test -L d/a || echo replaced",
    )?;
    ensure!(seen == "old\nnew\nnew\nreplaced\n", "{seen}");
    // A file where the copy has a directory, and the reverse.
    in_guest(&workspace, "rm -r d/x && echo x >d/x && mkdir b")?;
    ensure_refused(&workspace.run(&["mv", "d", "dev:"])?, "d/x is a file")?;
    fs::create_dir(workspace.directory().join("e"))?;
    fs::write(workspace.directory().join("e/b"), "x")?;
    in_guest(&workspace, "mkdir -p e/b")?;
    ensure_refused(&workspace.run(&["mv", "e", "dev:"])?, "e/b is a directory")?;
    Ok(())
}

pub fn endless_and_misleading_streams_are_bounded(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    in_guest(
        &workspace,
        "truncate -s 1T sparse; mkdir d; cd d; printf x >\"$(printf 'a\\033[31mb')\"; \
        for n in $(seq 300); do mkfifo \"$(printf 'p\\033]0;%s' $n)\"; done",
    )?;
    let started = std::time::Instant::now();
    let refused = workspace.run(&["mv", "--max", "50MiB", "dev:sparse", "."])?;
    ensure_refused(&refused, "the copy has more than 50MiB")?;
    ensure!(refused.stderr.contains("--max"), "{refused:#?}");
    ensure!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
    ensure!(!workspace.directory().join("sparse").exists());
    let copied = workspace.run(&["mv", "dev:d", "."])?;
    ensure!(copied.code == Some(0), "{copied:#?}");
    ensure!(
        copied.stderr.matches("Skipped").count() == 101,
        "{copied:#?}"
    );
    ensure!(!copied.stderr.contains('\x1b'), "{copied:#?}");
    ensure!(copied.stderr.contains("p\\u{1b}]0;"), "{copied:#?}");
    Ok(())
}

/// A source that sends without end fills the disk of the other env.
pub fn limit_holds_between_envs(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    for env in ["dev", "two"] {
        workspace.create(env)?;
    }
    in_guest(&workspace, "truncate -s 1T sparse && echo small >small")?;
    let started = std::time::Instant::now();
    let refused = workspace.run(&["mv", "--max", "50MiB", "dev:sparse", "two:"])?;
    ensure_refused(&refused, "the copy has more than 50MiB")?;
    ensure!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
    let left = workspace.ok(&[
        "exec",
        "two",
        "--",
        "sh",
        "-c",
        "ls -A ~ | grep -c -e ldm- -e sparse || true",
    ])?;
    ensure!(left == "0\n", "{left}");
    workspace
        .ok(&["mv", "--max", "50MiB", "dev:small", "two:"])
        .map(drop)
}

/// Writing into a pipe would wait for a reader.
pub fn copy_into_an_env_replaces_a_pipe(engine: &TestEngine) -> Result<()> {
    let workspace = Workspace::new(engine)?;
    workspace.create("dev")?;
    workspace.ok(&["container", "create", "two", "ldm-busybox"])?;
    fs::create_dir(workspace.directory().join("d"))?;
    fs::write(workspace.directory().join("d/a"), "new\n")?;
    for env in ["dev", "two"] {
        let run = |script: &str| workspace.ok(&["exec", env, "--", "sh", "-c", script]);
        run("mkdir d && mkfifo d/a")?;
        workspace.ok(&["mv", "d", &format!("{env}:")])?;
        let seen = run("test -p d/a || cat d/a")?;
        ensure!(seen == "new\n", "{env}: {seen:?}");
    }
    Ok(())
}
