//! Processor time of all who work for a way.

use std::fs;

use anyhow::Result;

use crate::memory;

/// Who works for a way.
#[derive(Clone)]
pub enum Cost {
    /// Nobody but the kernel.
    Nobody,
    /// A process, and those that it has started.
    Tree(u32),
    /// Our process, and the relay in this instance where the way leads through it.
    Ours {
        proxy: u32,
        relay_of: Option<String>,
    },
    /// The engine's processes for the device that listens there.
    Device { listen: String },
}

impl Cost {
    /// Seconds of processor time until now.
    pub fn seconds(&self) -> Result<f64> {
        let ticks = match self {
            Self::Nobody => 0,
            Self::Tree(root) => tree(*root)?,
            Self::Ours { proxy, relay_of } => {
                let relay = relay_of
                    .as_ref()
                    .map_or(Ok(0), |instance| all(|pid| is_relay(pid, instance)));
                tree(*proxy)? + relay?
            }
            Self::Device { listen } => all(|pid| is_device(pid, listen))?,
        };
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// Of a process, of those below it, and of those that were below it and have ended.
fn tree(root: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in memory::tree(root)? {
        // One that ends just now is counted at its parent.
        sum += ticks(pid).unwrap_or(0);
    }
    Ok(sum)
}

fn all(which: impl Fn(u32) -> bool) -> Result<u64> {
    let found = memory::processes()?.into_iter().filter(|pid| which(*pid));
    Ok(found.map(|pid| ticks(pid).unwrap_or(0)).sum())
}

/// utime, stime, cutime and cstime; see proc(5).
fn ticks(pid: u32) -> Result<u64> {
    let fields = memory::stat(pid)?;
    let mut sum = 0;
    for field in fields.get(11..15).unwrap_or_default() {
        sum += field.parse::<u64>()?;
    }
    Ok(sum)
}

fn is_relay(pid: u32, instance: &str) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    read("comm").starts_with("ldm-relay") && read("cgroup").contains(instance)
}

fn is_device(pid: u32, listen: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
    words.contains(&b"forkproxy".as_slice()) && words.contains(&listen.as_bytes())
}
