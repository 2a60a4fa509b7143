//! Hours of a forwarder's life in minutes: three envs of one project on one port, asked for by several
//! clients, while envs are stopped, started and restored, the focus moves, and who forwards is killed or asked to end.
//!
//! `make soak`. In the first half who forwards goes now and then; in the second one process lives
//! through all of it, and is looked at again and again. Fails where an answer came from another env than
//! the one that was asked for, where a client got no answer at all, or where something was left behind.

mod load;
mod place;
mod storm;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::engines::{self, TestEngine};

use load::Load;
use place::{Health, Place};
use storm::{Dice, Storm};

/// How long it takes where nobody says.
const SECONDS: u64 = 600;
/// How often who forwards is looked at in the second half. The first time it has done everything once, and has what it
/// needs for that.
const PARTS: u32 = 5;
/// Descriptors that may come in addition: pooled pipes.
const DESCRIPTORS: usize = 160;
/// MiB that may come in addition: what the allocator keeps.
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
    let seconds = words.next().map_or(Ok(SECONDS), |word| word.parse())?;
    let (found, missing) = engines::find();
    for label in missing {
        eprintln!("soak: skipped: {label} doesn't run (make engines)");
    }
    if found.is_empty() {
        bail!("no engine runs: make engines");
    }
    // All at once: one's load is the other's disturbance.
    let soaking: Vec<_> = found
        .into_iter()
        .map(|engine| {
            std::thread::spawn(move || {
                let soaked = soak(&engine, Duration::from_secs(seconds));
                soaked.map_err(|error| error.context(engine.label()))
            })
        })
        .collect();
    let mut failed = Vec::new();
    for soaked in soaking {
        let soaked = soaked.join();
        failed.extend(soaked.unwrap_or_else(|_| bail!("panicked")).err());
    }
    match failed.pop() {
        Some(error) => {
            failed
                .iter()
                .for_each(|error| eprintln!("soak: error: {error:#}"));
            Err(error)
        }
        None => Ok(()),
    }
}

fn soak(engine: &TestEngine, span: Duration) -> Result<()> {
    let label = engine.label();
    let mut dice = Dice::new();
    println!("{label}: seed {}", dice.seed());
    let mut place = Place::new(engine)?;
    let load = Load::start(&place, &mut dice);
    let mut storm = Storm::new(dice);
    storm.rage(&mut place, &load, span / 2, true)?;
    let young = calm(&mut place, &load)?;
    println!("{label}: at half time {young:?}");
    let mut seen = Vec::new();
    for part in 1..=PARTS {
        load.go_on();
        storm.rage(&mut place, &load, span / 2 / PARTS, false)?;
        let health = calm(&mut place, &load)?;
        println!("{label}: {part} of {PARTS} later {health:?}");
        seen.push(health);
    }
    let counts = load.end()?;
    println!("{label}: {counts:?}\n{label}: {storm}");
    let [before, .., after] = seen.as_slice() else {
        bail!("nothing was seen");
    };
    judge(before, after)?;
    counts.judge()
}

/// All envs run and answer, and nobody asks: how is who forwards?
fn calm(place: &mut Place, load: &Load) -> Result<Health> {
    place.all_up()?;
    load.pause();
    let begun = Instant::now();
    place.wait_until_idle()?;
    println!("idle after {:.1} s", begun.elapsed().as_secs_f64());
    place.health()
}

fn judge(before: &Health, after: &Health) -> Result<()> {
    ensure!(
        after.descriptors <= before.descriptors + DESCRIPTORS,
        "descriptors were left: {before:?}, {after:?}"
    );
    ensure!(
        after.sockets <= before.sockets + 8,
        "sockets were left: {before:?}, {after:?}"
    );
    ensure!(
        after.memory <= before.memory + MEMORY,
        "memory has grown: {before:?}, {after:?}"
    );
    Ok(())
}
