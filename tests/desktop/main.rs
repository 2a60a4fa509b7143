//! The app end to end: a screen and a bus of its own, a real engine, a real tray, a real window.

mod forwards;
mod scenes;
mod window;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    let trials = harness::on_engines(engine_tests![
        forwards::the_app_takes_over_and_moves_the_focus,
        scenes::restore_from_the_tray,
        scenes::restore_from_the_page,
        scenes::the_tray_is_there_without_a_watcher_and_without_an_engine,
    ]);
    harness::run_one_by_one(trials)
}
