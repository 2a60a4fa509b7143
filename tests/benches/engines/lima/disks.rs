//! Snapshots against the copy of the disk alone.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use lxc_dev_manager_tests::lima::LimaProject;

use super::name;
use crate::commands::ended;
use crate::pairs::Pairs;
use crate::row::Row;

/// What the disk holds, and where it begins: behind what the stand-in reads of it.
const HOLDS: u64 = 1 << 30;
const BEGIN: u64 = 2 << 30;
/// Ours by the copy, at most.
const LIMIT: f64 = 1.2;
const PAIRS: (usize, usize) = (1, 5);

/// Of an env that is stopped.
pub fn snapshot_and_restore(project: &LimaProject, _traffic: &Path) -> Result<Vec<Row>> {
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["down", "dev"])?;
    project.stage().fill_disk("web-dev", BEGIN, HOLDS)?;
    let source = project.stage().instance("web-dev").join("disk");
    let copy = source.with_file_name("by-hand");
    let cp = |flushed: bool| {
        let mut command = Command::new("cp");
        command.args(["--reflink=auto", "--sparse=always", "--"]);
        command.arg(&source).arg(&copy);
        let mut taken = ended(command)?;
        if flushed {
            let mut command = Command::new("sync");
            command.arg(&copy);
            taken += ended(command)?;
        }
        std::fs::remove_file(&copy)?;
        Ok(taken)
    };
    let keep = || {
        let taken = ended(project.command(&["container", "snapshot", "create", "dev", "s"]))?;
        project.ok(&["container", "snapshot", "delete", "dev", "s"])?;
        Ok(taken)
    };
    let reset = || ended(project.command(&["container", "reset", "dev", "s"]));
    project.ok(&["config", "set", "undo.on_dir", "false"])?;
    let kept = [false, true].map(|flushed| Pairs::take(PAIRS.0, PAIRS.1, keep, || cp(flushed)));
    project.ok(&["container", "snapshot", "create", "dev", "s"])?;
    let restored =
        [false, true].map(|flushed| Pairs::take(PAIRS.0, PAIRS.1, reset, || cp(flushed)));
    let note = format!(
        "a disk with {} MiB on ext4, so both copy; ours is on the disk when it ends, which `cp` leaves to later",
        HOLDS >> 20
    );
    let engine = name(project.stage());
    let mut rows = Vec::new();
    for (what, pairs) in [
        ("container snapshot create", kept),
        ("container reset", restored),
    ] {
        let [alone, flushed] = pairs;
        let row = format!("`{what}` of a stopped env / `cp --sparse` of its disk");
        rows.push(Row::pairs_below(engine, &row, &alone?, LIMIT).noting(Some(note.clone())));
        rows.push(Row::pairs(
            engine,
            &format!("{row}, then `sync`"),
            &flushed?,
        ));
    }
    Ok(rows)
}
