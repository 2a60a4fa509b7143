//! `provision` in real guests: Debian, and a minimal busybox.

mod guest;
mod passwords;
mod setup;
mod users;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    harness::run(harness::on_engines(engine_tests![
        passwords::log_in_exactly_on_debian,
        passwords::log_in_exactly_on_busybox,
        passwords::log_in_only_if_one_is_set,
        users::of_any_allowed_name_work_on_debian,
        users::of_any_allowed_name_work_on_busybox,
        users::are_changed_atomically,
        users::of_the_image_are_adopted,
        users::of_services_are_refused_by_name,
        users::can_log_in_again_after_a_restart_of_busybox,
        setup::scripts_run_once_as_the_user_in_its_home,
        setup::scripts_name_their_interpreter,
        setup::failing_scripts_report_their_exit_code,
        setup::scripts_run_on_busybox,
    ]))
}
