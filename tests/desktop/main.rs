//! End-to-end tests of the app with its own X server and D-Bus, a real engine, tray and window.

mod consent;
mod forwards;
mod scenes;
mod window;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    let trials = harness::on_engines(engine_tests![
        consent::consent_is_given_in_the_window,
        forwards::app_takes_over_and_changes_default_target,
        scenes::restore_from_the_tray,
        scenes::restore_from_the_page,
        scenes::tray_starts_without_watcher_and_engine,
    ]);
    harness::run_one_by_one(trials)
}
