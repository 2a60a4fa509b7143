//! On what was measured.

use std::fs;

use anyhow::Result;
use lxc_dev_manager_tests::engines::TestEngine;

use crate::peer::Peer;

/// The machine, in one line.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = value(&read("/proc/cpuinfo"), "model name");
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    let gib = kib / 1024.0 / 1024.0;
    let kernel = read("/proc/sys/kernel/osrelease");
    let kernel = kernel.trim();
    let system = read("/etc/os-release");
    let system = value(&system.replace('=', ":").replace('"', ""), "PRETTY_NAME");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let now = jiff::Timestamp::now().to_string();
    let today = now.split('T').next().unwrap_or_default();
    format!(
        "{today}: {cores} cores ({model}), {gib:.0} GiB, {system}, Linux {kernel}; load at the start {load}"
    )
}

/// Name and version of an engine, and the driver of its pool.
pub async fn engine(engine: &TestEngine) -> Result<(String, String)> {
    let server = engine.backend().capabilities().await?.server;
    let pool = Peer::new(engine)?.ok(&["query", "/1.0/storage-pools/default"])?;
    let pool: serde_json::Value = serde_json::from_str(&pool)?;
    let driver = pool["driver"].as_str().unwrap_or("unknown").to_owned();
    Ok((server, driver))
}
