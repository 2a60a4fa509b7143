//! One trial per engine and test function.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::engines::{self, TestEngine};

pub struct EngineTest {
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

/// Trials of all tests on all running engines. Tests of a missing engine are ignored, with its name.
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
        eprintln!("skipped: {label} is not running (make engines)");
        for test in tests {
            trials.push(missing_engine(label, &short(test.name)));
        }
    }
    trials
}

/// An ignored trial. It fails under `--include-ignored`: without its engine, nothing was tested.
pub fn missing_engine(label: &str, name: &str) -> Trial {
    let why = format!("{label} is not running (make engines)");
    let fail = move || Err(Failed::from(why));
    Trial::test(format!("{label}::{name}"), fail).with_ignored_flag(true)
}

fn short(name: &str) -> String {
    name.replace(' ', "")
}

/// Runs trials sequentially: each needs the whole machine.
pub fn run_one_by_one(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs trials, at most four at a time: each starts whole systems.
pub fn run(trials: Vec<Trial>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(4);
    libtest_mimic::run(&arguments, trials).exit_code()
}
