//! Hours of a forwarder's life in minutes: three envs of one project on one port under load, while envs are stopped, started
//! and restored, the focus moves, and forwarders are killed or end.
//!
//! `make soak`. In the first half forwarders are replaced; in the second half one lives on and is checked repeatedly. Fails
//! on an answer of the wrong env, on a client without any answer, and on leaked resources.

mod load;
mod place;
mod storm;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::engines::{self, TestEngine};

use load::Load;
use place::{Health, Place};
use storm::Storm;

const DEFAULT_SECONDS: u64 = 600;
/// Checks in the second half. At the first one the forwarder has allocated what it needs.
const CHECKS: u32 = 5;
/// Allowed growth: pooled pipes, connections that end at the moment, memory kept by the allocator (MiB).
const DESCRIPTORS: usize = 160;
const SOCKETS: usize = 8;
const MEMORY: f64 = 4.0;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let seconds = words
        .next()
        .map_or(Ok(DEFAULT_SECONDS), |word| word.parse())?;
    let (found, missing) = engines::find();
    for label in missing {
        eprintln!("soak: skipped: {label} is not running (make engines)");
    }
    ensure!(!found.is_empty(), "no engine is running: make engines");
    // At the same time, as load for each other.
    let start = |engine: TestEngine| {
        std::thread::spawn(move || {
            let result = soak(&engine, Duration::from_secs(seconds));
            result.map_err(|error| error.context(engine.label()))
        })
    };
    let soaking: Vec<_> = found.into_iter().map(start).collect();
    let mut result = Ok(());
    for soaking in soaking {
        let ended = soaking.join().unwrap_or_else(|_| bail!("panicked"));
        if let Err(error) = &ended {
            eprintln!("soak: error: {error:#}");
        }
        result = result.and(ended);
    }
    result
}

fn soak(engine: &TestEngine, span: Duration) -> Result<()> {
    let label = engine.label();
    let mut place = Place::new(engine)?;
    let load = Load::start(&place);
    let mut storm = Storm::default();
    storm.run(&mut place, &load, span / 2, true)?;
    println!("{label}: at half time {:?}", check(&place, &load)?);
    let mut checks = Vec::new();
    for number in 1..=CHECKS {
        storm.run(&mut place, &load, span / 2 / CHECKS, false)?;
        let health = check(&place, &load)?;
        println!("{label}: {number} of {CHECKS} later {health:?}");
        checks.push(health);
    }
    println!("{label}: {:?}", storm.done);
    load.end()?;
    if let [first, .., last] = checks.as_slice() {
        let is_bounded = last.descriptors <= first.descriptors + DESCRIPTORS
            && last.sockets <= first.sockets + SOCKETS
            && last.memory <= first.memory + MEMORY;
        ensure!(is_bounded, "resources have leaked: {first:?}, {last:?}");
    }
    Ok(())
}

/// Reads the forwarder's state while all envs run and no client asks.
fn check(place: &Place, load: &Load) -> Result<Health> {
    place.start_all()?;
    let _paused = load.pause();
    place.wait_until_idle()?;
    place.health()
}
