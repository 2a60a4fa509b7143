//! The project's set-up script in real guests.

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::provision::{User, run_setup};
use lxc_dev_manager_core::{Error, ErrorKind};
use lxc_dev_manager_tests::engines::{TestEngine, busybox_image, image};

use super::guest::{Guest, user};

/// Runs a script; returns its lines.
fn run(guest: &Guest, user: &User, script: &[u8]) -> (Result<(), Error>, Vec<String>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&lines);
    let ran = guest.runtime.block_on(run_setup(
        guest.backend.as_ref(),
        &guest.name,
        &user.name,
        script.to_vec(),
        move |line| seen.lock().unwrap().push(line.to_owned()),
    ));
    let lines = lines.lock().unwrap().clone();
    (ran, lines)
}

fn ready(engine: &TestEngine, image: &str) -> Result<(Guest, User)> {
    let guest = Guest::of(engine, image)?;
    let ada = user("ada", "x")?;
    guest.set_up(&ada)?;
    Ok((guest, ada))
}

fn plain(engine: &TestEngine, image: &str) -> Result<()> {
    let (guest, ada) = ready(engine, image)?;
    let script = "id -un; pwd\necho to stderr >&2\nsudo -n id -u\necho 'ünï $HOME; x' >made\ncat\n";
    let (ran, lines) = run(&guest, &ada, script.as_bytes());
    ran?;
    ensure!(lines == ["ada", "/home/ada", "to stderr", "0"], "{lines:?}");
    ensure!(guest.ok_as(&ada, &["cat", "made"])? == "ünï $HOME; x");
    let left = guest.ok_as(&ada, &["ls", "-A"])?;
    ensure!(!left.contains("ldm"), "leftovers: {left}");
    // An empty script is a success.
    let (ran, lines) = run(&guest, &ada, b"");
    ran?;
    ensure!(lines.is_empty(), "{lines:?}");
    Ok(())
}

pub fn scripts_run_once_as_the_user_in_its_home(engine: &TestEngine) -> Result<()> {
    plain(engine, &image())
}

pub fn scripts_run_on_busybox(engine: &TestEngine) -> Result<()> {
    plain(engine, &busybox_image())
}

pub fn scripts_name_their_interpreter(engine: &TestEngine) -> Result<()> {
    let (guest, ada) = ready(engine, &image())?;
    for (script, wanted) in [
        ("#!/usr/bin/perl\nprint 6 * 7, \"\\n\";\n", "42"),
        (
            "#!/usr/bin/env bash\narray=(a b)\necho \"${array[1]}\"\n",
            "b",
        ),
        ("#!/bin/cat\nits text\n", "#!/bin/cat"),
        // Without an interpreter it is sh.
        ("# comment\necho $((1 + 1))\n", "2"),
    ] {
        let (ran, lines) = run(&guest, &ada, script.as_bytes());
        ran?;
        ensure!(
            lines.first().is_some_and(|line| line == wanted),
            "{script}: {lines:?}"
        );
    }
    Ok(())
}

pub fn failing_scripts_report_their_exit_code(engine: &TestEngine) -> Result<()> {
    let (guest, ada) = ready(engine, &image())?;
    for (script, code, words) in [
        (
            "for i in 1 2 3 4 5 6 7; do echo line $i; done; exit 7\n",
            7,
            "line 3\nline 4\nline 5\nline 6\nline 7",
        ),
        ("set -e\necho begun\nfalse\necho never\n", 1, "begun"),
        ("no-such-program\n", 127, "no-such-program"),
        ("#!/no/such/interpreter\n", 127, "not found"),
        ("exit 3", 3, "no output"),
        ("kill -TERM $$", 143, ""),
    ] {
        let (ran, lines) = run(&guest, &ada, script.as_bytes());
        let error = ran
            .err()
            .with_context(|| format!("{script} succeeded: {lines:?}"))?;
        ensure!(
            error.kind() == ErrorKind::Guest && error.hint().is_some(),
            "{error:?}"
        );
        let said = error.report().message;
        ensure!(
            said.contains(&format!("exit code {code}")),
            "{script}: {said}"
        );
        ensure!(
            said.contains(words) && !said.contains("never"),
            "{script}: {said}"
        );
        let left = guest.ok_as(&ada, &["ls", "-A"])?;
        ensure!(!left.contains("ldm"), "leftovers: {left}");
    }
    Ok(())
}
