//! Measurements of the release programs on real engines, each compared with a peer.
//!
//! A missed target fails nothing; a failed measurement fails the run. `list`, `exec`, … as arguments select parts,
//! `LDM_BENCH_WRITE=1` writes the docs.

mod app;
mod commands;
mod copies;
mod create;
mod lima;
mod pairs;
mod peer;
mod ports;
mod processes;
mod report;
mod row;
mod stage;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use lxc_dev_manager_tests::engines::{self, TestEngine};

use peer::Peer;
use row::Row;
use stage::Stage;

/// A part that uses a project of five envs.
type OnStage = fn(&Stage) -> Result<Vec<Row>>;
/// A part that creates its own envs; the text is the engine's name.
type Alone = fn(&TestEngine, &str) -> Result<Vec<Row>>;

const ON_STAGE: [(&str, OnStage); 5] = [
    ("start", commands::start),
    ("list", commands::list),
    ("exec", commands::exec),
    ("clone", copies::clone),
    ("files", copies::files),
];
const ALONE: [(&str, Alone); 2] = [("create", create::create), ("ports", ports::ports)];
/// On the first engine only.
const APP: &str = "app";
const LIMA: &str = "lima";

struct Bench {
    /// Selected parts; empty for all.
    parts: Vec<String>,
    rows: Vec<Row>,
    has_failed: bool,
}

impl Bench {
    fn new(arguments: impl Iterator<Item = String>) -> Result<Self> {
        // Cargo adds `--bench`.
        let parts: Vec<String> = arguments.filter(|word| word != "--bench").collect();
        let on_stage = ON_STAGE.iter().map(|(name, _)| *name);
        let alone = ALONE.iter().map(|(name, _)| *name);
        let known: Vec<&str> = on_stage.chain(alone).chain([APP, LIMA]).collect();
        for part in &parts {
            let is_known = known.contains(&part.as_str());
            ensure!(is_known, "no part `{part}`: expected {known:?}");
        }
        Ok(Self {
            parts,
            rows: Vec::new(),
            has_failed: false,
        })
    }

    /// Measures a part, if it is selected.
    fn measure(&mut self, part: &str, engine: &str, measure: impl FnOnce() -> Result<Vec<Row>>) {
        if !self.wants(part) {
            return;
        }
        eprintln!("bench: {engine}: {part}");
        match measure() {
            Ok(rows) => self.rows.extend(rows),
            Err(error) => {
                self.has_failed = true;
                eprintln!("bench: {engine}: {part}: error: {error:#}");
            }
        }
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }

    fn on_engine(&mut self, engine: &TestEngine, name: &str, is_first: bool) -> Result<()> {
        // Before the five envs exist: with few instances lists of both sides are equal.
        for (part, measure) in ALONE {
            self.measure(part, name, || measure(engine, name));
        }
        let needs_stage = ON_STAGE.iter().any(|(part, _)| self.wants(part));
        let needs_app = is_first && self.wants(APP);
        if !needs_stage && !needs_app {
            return Ok(());
        }
        let stage = Stage::new(engine, name)?;
        for (part, measure) in ON_STAGE {
            self.measure(part, name, || measure(&stage));
        }
        if is_first {
            self.measure(APP, name, || app::app(&stage));
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let as_user = std::env::args().nth(1).as_deref() == Some(lima::AS_USER);
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
    let mut bench = Bench::new(std::env::args().skip(1))?;
    let machine = report::machine();
    let (found, missing) = engines::find();
    for label in &missing {
        eprintln!("bench: skipped: {label} is not running (make engines)");
    }
    bench.measure(LIMA, "Lima", lima::lima);
    let mut systems = Vec::new();
    for (index, engine) in found.iter().enumerate() {
        let (name, pool) = describe(engine)?;
        bench.on_engine(engine, &name, index == 0)?;
        systems.push(format!("{name} on {pool}"));
    }
    let tables = report::markdown(&bench.rows);
    let text = format!("{machine}. {}.\n\n{tables}", systems.join(", "));
    println!("{text}");
    if std::env::var("LDM_BENCH_WRITE").is_ok_and(|value| value == "1") && !bench.has_failed {
        report::write(&text, bench.parts.is_empty())?;
        eprintln!("bench: wrote docs/benchmarks.md");
    }
    Ok(!bench.has_failed)
}

/// Name and version of an engine, and the driver of its pool.
fn describe(engine: &TestEngine) -> Result<(String, String)> {
    let runtime = tokio::runtime::Runtime::new()?;
    let server = runtime.block_on(async { engine.backend().capabilities().await })?;
    let pool = Peer::new(engine)?.ok(&["query", "/1.0/storage-pools/default"])?;
    let pool: serde_json::Value = serde_json::from_str(&pool)?;
    let driver = pool["driver"].as_str().unwrap_or("unknown").to_owned();
    Ok((server.server, driver))
}
