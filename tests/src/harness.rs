//! One trial for each engine and test function.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::engines::{self, TestEngine};

/// A test that wants an engine.
pub struct EngineTest {
    /// Name of the function.
    pub name: &'static str,
    pub run: fn(&TestEngine) -> anyhow::Result<()>,
}

/// Lists functions as [`EngineTest`]s.
#[macro_export]
macro_rules! engine_tests {
    ($($function:path),* $(,)?) => {
        &[$($crate::harness::EngineTest { name: stringify!($function), run: $function }),*]
    };
}

/// Trials of tests on every engine that runs. For one that doesn't, each test is shown as ignored,
/// and its name is said.
pub fn on_engines(tests: &'static [EngineTest]) -> Vec<Trial> {
    let (found, missing) = engines::find();
    let mut trials = Vec::new();
    for engine in found {
        for test in tests {
            let engine = engine.clone();
            trials.push(Trial::test(
                format!("{}::{}", engine.label(), short(test.name)),
                move || (test.run)(&engine).map_err(|error| Failed::from(format!("{error:#}"))),
            ));
        }
    }
    for label in missing {
        eprintln!("skipped: {label} doesn't run (make engines)");
        for test in tests {
            let name = format!("{label}::{}", short(test.name));
            trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
        }
    }
    trials
}

fn short(name: &str) -> String {
    name.replace(' ', "")
}

/// Runs trials one after the other: each has a screen that wants the machine for itself.
pub fn run_one_by_one(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs trials; few at once, because each has a whole machine in it.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials).exit_code()
}
