//! Measurements of the release programs on real engines, each against what does the like.
//!
//! Nothing fails because it is slow: a target that is missed is shown as missed. What can't be
//! measured, because it fails, fails the run.
//!
//! `list`, `exec`, … as arguments leave the others out; `LDM_BENCH_WRITE=1` writes the docs.

mod app;
mod commands;
mod copies;
mod create;
mod docs;
mod lima;
mod machine;
mod many;
mod memory;
mod pairs;
mod peer;
mod ports;
mod row;
mod stage;
mod table;

use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_tests::engines::{self, TestEngine};

use row::{Part, Row};
use stage::Stage;

/// What a part finds out.
type Rows = Result<Vec<Row>>;
/// A part that is measured with a project of five envs.
type OnStage = fn(&Stage) -> Rows;
/// A part that makes its own envs; the text is the engine's name.
type Alone = fn(&TestEngine, &str) -> Rows;

/// What is measured with a project of five envs.
const ON_STAGE: [(&str, OnStage); 8] = [
    ("start", copies::start),
    ("list", commands::list),
    ("raw", copies::raw_list),
    ("exec", commands::exec),
    ("snapshot", commands::snapshot),
    ("restore", commands::restore),
    ("clone", copies::clone),
    ("files", copies::files),
];
/// What makes its own envs.
const ALONE: [(&str, Alone); 3] = [
    ("create", create::create),
    ("bare", create::bare),
    ("ports", ports::ports),
];
/// What is measured on one engine only: the app is the same on both.
const APP: &str = "app";
/// What is measured on no engine at all.
const MANY: &str = "many";
/// What is measured on Lima's stand-in.
const LIMA: &str = "lima";

/// What to measure, and where it goes.
struct Wanted {
    parts: Vec<String>,
    write: bool,
}

impl Wanted {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        // Cargo adds `--bench`.
        let parts: Vec<String> = arguments.filter(|word| word != "--bench").collect();
        let known = || {
            ON_STAGE
                .iter()
                .map(|(name, _)| *name)
                .chain(ALONE.iter().map(|(name, _)| *name))
                .chain([APP, MANY, LIMA])
        };
        for part in &parts {
            let all: Vec<&str> = known().collect();
            ensure!(
                all.contains(&part.as_str()),
                "no part `{part}`; there are {all:?}"
            );
        }
        let write = std::env::var("LDM_BENCH_WRITE").is_ok_and(|value| value == "1");
        Ok(Self { parts, write })
    }

    fn has(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

/// Rows so far, and whether something failed.
#[derive(Default)]
struct Results {
    rows: Vec<Row>,
    failed: bool,
}

impl Results {
    fn add(&mut self, part: &str, engine: &str, rows: Rows) {
        match rows {
            Ok(rows) => self.rows.extend(rows),
            Err(error) => {
                self.failed = true;
                let row = Row::unmeasured(Part::Commands, engine, part, format!("{error:#}"));
                self.rows.push(row);
            }
        }
    }
}

fn main() -> ExitCode {
    let as_user = std::env::args()
        .nth(1)
        .is_some_and(|word| word == lima::AS_USER);
    let done = if as_user {
        lima::as_user().map(|()| true)
    } else {
        run()
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let wanted = Wanted::parse(std::env::args().skip(1))?;
    let machine = machine::machine();
    let (found, missing) = engines::find();
    if found.is_empty() && wanted.parts != [LIMA] {
        bail!("no engine runs: make engines");
    }
    for label in &missing {
        eprintln!("bench: skipped: {label} doesn't run (make engines)");
    }
    let mut results = Results::default();
    let mut systems = Vec::new();
    if wanted.has(MANY) {
        results.add(MANY, "in memory", many::many());
    }
    if wanted.has(LIMA) {
        results.add(LIMA, "Lima's stand-in", lima::lima());
    }
    for (index, engine) in found.iter().enumerate() {
        let (name, pool) = describe(engine)?;
        on_engine(&wanted, engine, &name, index == 0, &mut results);
        systems.push(format!("{name} on {pool}"));
    }
    let machine = format!("{machine}. {}.", systems.join(", "));
    println!("{machine}\n\n{}", table::plain(&results.rows));
    if wanted.write && !results.failed {
        let text = format!("{machine}\n\n{}", table::markdown(&results.rows));
        docs::write(&text, wanted.parts.is_empty())?;
        eprintln!("bench: wrote docs/benchmarks.md");
    }
    Ok(!results.failed)
}

fn describe(engine: &TestEngine) -> Result<(String, String)> {
    tokio::runtime::Runtime::new()?.block_on(machine::engine(engine))
}

fn on_engine(wanted: &Wanted, engine: &TestEngine, name: &str, first: bool, results: &mut Results) {
    // Before the stage is there: an engine with few instances is the same for both sides.
    for (part, measure) in ALONE.iter().filter(|(part, _)| wanted.has(part)) {
        eprintln!("bench: {name}: {part}");
        results.add(part, name, measure(engine, name));
    }
    let on_stage: Vec<_> = ON_STAGE
        .iter()
        .filter(|(part, _)| wanted.has(part))
        .collect();
    let app = first && wanted.has(APP);
    if on_stage.is_empty() && !app {
        return;
    }
    eprintln!("bench: {name}: making five envs");
    let stage = match Stage::new(engine, name) {
        Ok(stage) => stage,
        Err(error) => return results.add("five envs", name, Err(error)),
    };
    for (part, measure) in on_stage {
        eprintln!("bench: {name}: {part}");
        results.add(part, name, measure(&stage));
    }
    if app {
        eprintln!("bench: {name}: the app");
        results.add(APP, name, app::app(&stage));
    }
}
