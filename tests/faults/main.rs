//! Engines killed during an operation, and full pools: on daemons of this suite's own, because it kills them.

mod daemon;
mod full;
mod killed;

use std::process::ExitCode;

use daemon::Daemon;
use libtest_mimic::{Failed, Trial};
use lxc_dev_manager_tests::{engines, harness};

/// A test, and the size of its daemon's pool.
type Row = (
    &'static str,
    &'static str,
    fn(&Daemon) -> anyhow::Result<()>,
);

const TESTS: [Row; 2] = [
    (
        "killed_engine_during_an_operation",
        "3GiB",
        killed::killed_engine_during_an_operation,
    ),
    (
        "full_pool_is_reported_and_nothing_is_lost",
        "400MiB",
        full::full_pool_is_reported_and_nothing_is_lost,
    ),
];

fn main() -> ExitCode {
    let (found, missing) = engines::find();
    let mut trials = Vec::new();
    for engine in found {
        for (name, pool, test) in TESTS {
            let label = engine.label();
            let kind = engine.kind;
            trials.push(Trial::test(format!("{label}::{name}"), move || {
                let run = || test(&Daemon::start(kind, name, pool)?);
                run().map_err(|error| Failed::from(format!("{error:#}")))
            }));
        }
    }
    for label in missing {
        eprintln!("skipped: {label} is not running (make engines)");
        for (name, ..) in TESTS {
            trials.push(harness::missing_engine(label, name));
        }
    }
    harness::run_one_by_one(trials)
}
