//! Ten thousand idle connections.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit};

use super::load::connect;
use super::place::Place;
use crate::processes::{memory, ticks};
use crate::row::{Row, Section, Target};

/// If the limit of descriptors allows it: the forwarder needs two for each, and some others.
const CONNECTIONS: u64 = 10_000;
const OTHER_DESCRIPTORS: u64 = 100;
/// Until resources for connecting are released.
const SETTLE_DELAY: Duration = Duration::from_secs(2);
const SPAN: Duration = Duration::from_secs(5);
/// Pooled pipes.
const POOL: f64 = 64.0;

pub fn idle(place: &Place, engine: &str) -> Result<Vec<Row>> {
    let pid = place.proxy.child.id();
    let (memory_before, pipes_before) = (memory(pid)?, pipes(pid)?);
    let clients = connect_all(place)?;
    std::thread::sleep(SETTLE_DELAY);
    let before = ticks(&[pid]);
    std::thread::sleep(SPAN);
    let ticks = ticks(&[pid]) - before;
    let kib = (memory(pid)? - memory_before) * 1024.0 / clients.len() as f64;
    let pipes = pipes(pid)?.saturating_sub(pipes_before);
    let row = |what: &str, figure: String, value: f64, limit: f64, unit: &str| {
        let what = format!("{} idle connections: {what}", clients.len());
        let row = Row::figure(Section::Ports, engine, &what, figure);
        row.with_target(value, Target::AtMost(limit), unit)
    };
    let memory = format!("{kib:.2} KiB");
    let ticks_of = "ticks of processor time in 5 s";
    Ok(vec![
        row("memory of each", memory, kib, 4.0, "KiB"),
        row("pipes", pipes.to_string(), pipes as f64, POOL, ""),
        row(ticks_of, ticks.to_string(), ticks as f64, 0.0, ""),
    ])
}

fn connect_all(place: &Place) -> Result<Vec<TcpStream>> {
    let allowed = getrlimit(Resource::Nofile).maximum;
    let count = allowed.map_or(CONNECTIONS, |limit| {
        CONNECTIONS.min(limit.saturating_sub(OTHER_DESCRIPTORS) / 2)
    });
    let open = |number| {
        let mut client = connect(place.ours().address)?;
        client.write_all(b"h")?;
        client.read_exact(&mut [0])?;
        anyhow::Ok(client).with_context(|| format!("connection {number}"))
    };
    (0..count).map(open).collect()
}

fn pipes(pid: u32) -> Result<usize> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    let is_pipe = |target: &std::path::PathBuf| target.to_string_lossy().starts_with("pipe:");
    // Both ends of each.
    Ok(targets.filter(is_pipe).count() / 2)
}
