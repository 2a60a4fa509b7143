//! Memory and processor time of processes, from `/proc`.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

/// PSS of a process and its descendants in MiB: a page that is shared by n processes counts for one n-th.
pub fn memory(root: u32) -> Result<f64> {
    let mut sum = 0.0;
    for pid in tree(root)? {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        sum += number.context("no PSS")?.parse::<f64>()? / 1024.0;
    }
    Ok(sum)
}

pub fn all() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.filter_map(pid).collect())
}

/// A process and its descendants.
pub fn tree(root: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in all()? {
        // A process that has ended meanwhile is skipped.
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(found)
}

/// Ticks of processor time of processes and of their children that have ended.
pub fn ticks(pids: &[u32]) -> u64 {
    let ticks = |pid: &u32| {
        // utime, stime, cutime and cstime; see proc(5).
        let fields = stat(*pid)?;
        let numbers = fields.get(11..15)?.iter();
        numbers
            .map(|field| field.parse::<u64>().ok())
            .sum::<Option<u64>>()
    };
    pids.iter().filter_map(ticks).sum()
}

/// The fields of `/proc/PID/stat` after the name, which may contain anything: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}
