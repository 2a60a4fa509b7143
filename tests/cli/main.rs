//! The command line, run as a process on real engines.

mod bad_files;
mod copies;
mod docker;
mod errors;
mod frozen;
mod guest;
mod killed;
mod killed_copies;
mod multi_env;
mod sessions;
mod setup;
mod tour;
mod transfer;
mod writers;

use std::process::ExitCode;

use libtest_mimic::{Failed, Trial};
use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    if let Some(code) = writers::write_if_told() {
        return code;
    }
    let mut trials = harness::on_engines(engine_tests![
        tour::from_create_to_undo,
        tour::a_colleagues_clone,
        tour::two_checkouts_of_one_project,
        bad_files::texts_that_can_not_be_read,
        bad_files::things_that_are_no_file,
        bad_files::files_of_another_user,
        bad_files::files_that_can_be_read_only,
        bad_files::a_file_that_is_a_mount_of_its_own_is_written_in_its_place,
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
        guest::the_ssh_agent_is_lent_and_taken_back,
        copies::a_clone_is_another_machine_with_the_same_files,
        copies::a_renamed_env_is_the_same_one,
        copies::an_image_of_an_env_makes_envs_of_their_own,
        copies::a_deleted_project_comes_back,
        docker::containers_run_in_an_env_and_again_after_a_restart,
        docker::it_comes_into_an_env_that_is_there_and_is_refused_where_it_can_not,
        multi_env::patterns_and_a_file_whose_envs_are_not_made_yet,
        multi_env::limits_are_those_of_the_flags_and_then_those_of_the_file,
        multi_env::a_directory_of_the_host_is_seen,
        multi_env::changes_are_told_as_they_happen,
        multi_env::ssh_itself_gets_in_by_the_block_that_is_printed,
        multi_env::preferences_are_shown_set_and_heeded,
        multi_env::completions_and_manual_pages,
        multi_env::the_doctor_tells_what_is_there_and_what_is_not,
        sessions::who_stops_an_env_is_asked_where_one_is_open,
        sessions::scripts_and_force_are_never_asked,
        sessions::a_terminal_has_our_size_and_follows_it,
        setup::it_is_run_once_as_the_user_and_its_output_is_shown,
        setup::a_failing_one_fails_the_create_and_keeps_the_env_only_if_told,
        setup::named_variables_of_the_host_are_passed_on,
        transfer::there_and_back_with_any_name,
        transfer::directories_are_merged_made_when_asked_and_never_replaced,
        transfer::what_is_not_there_is_said,
        transfer::a_guest_tells_how_much_there_is_to_copy,
        transfer::a_full_disk_leaves_nothing_half_copied,
        killed::create_is_taken_back,
        killed::reset_is_finished,
        killed::removal_is_done_or_taken_back,
        killed::undo_of_a_removal_is_finished,
        killed_copies::clone_is_whole_or_gone,
        killed_copies::rename_is_done_or_not_begun,
        killed_copies::restart_leaves_it_running,
        killed_copies::making_an_image_leaves_the_env_as_it_was,
        killed_copies::a_copy_of_files_is_whole_or_gone,
        killed_copies::a_copy_between_envs_is_whole_or_gone,
        killed_copies::a_deletion_of_a_project_leaves_whole_envs,
    ]);
    trials.push(Trial::test(
        "writers::twenty_processes_lose_no_update_of_one_file",
        || {
            let wrote = writers::twenty_processes_lose_no_update_of_one_file();
            wrote.map_err(|error| Failed::from(format!("{error:#}")))
        },
    ));
    harness::run(trials)
}
