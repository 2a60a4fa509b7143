//! The command line, run as a process on real engines.

mod errors;
mod frozen;
mod guest;
mod killed;
mod tour;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    harness::run(harness::on_engines(engine_tests![
        tour::from_create_to_undo,
        tour::a_colleagues_clone,
        errors::without_an_engine,
        errors::without_permission,
        errors::an_unknown_image,
        errors::a_name_that_exists,
        errors::files_that_can_not_be_used,
        errors::names_and_usage,
        errors::removal_without_a_terminal,
        frozen::an_env_can_be_used_again,
        guest::exit_codes_and_streams,
        guest::groups_and_home,
        guest::the_password_is_exactly_the_files,
        guest::ssh_with_our_key,
        guest::a_forwarded_port_answers,
        guest::signals_arrive,
        killed::create_is_taken_back,
        killed::reset_is_finished,
        killed::removal_is_done_or_taken_back,
        killed::undo_of_a_removal_is_finished,
    ]))
}
