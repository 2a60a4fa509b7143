//! Tests of the command line on real engines.

mod bad_files;
mod copies;
mod docker;
mod errors;
mod frozen;
mod full_state;
mod guest;
mod hostile_files;
mod hostile_guest;
mod hostile_neighbour;
mod killed;
mod killed_copies;
mod mounts;
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
    if let Some(code) = writers::run_as_writer() {
        return code;
    }
    let mut trials = harness::on_engines(engine_tests![
        tour::tour_from_create_to_undo,
        tour::up_creates_envs_of_the_file,
        tour::checkouts_do_not_change_each_other,
        bad_files::invalid_files_are_rejected,
        bad_files::non_regular_files_are_rejected,
        bad_files::unreadable_files_are_rejected,
        bad_files::read_only_files_are_not_changed,
        bad_files::bind_mounted_file_is_written_in_place,
        hostile_files::cloned_file_does_not_write_the_home,
        hostile_files::consent_is_asked_for_and_again_after_a_change,
        hostile_files::script_outside_the_project_is_asked_about,
        hostile_files::file_that_others_can_change_is_refused,
        hostile_guest::second_copy_does_not_write_through_a_link,
        hostile_guest::copy_into_an_env_does_not_write_through_a_link,
        hostile_guest::endless_and_misleading_streams_are_bounded,
        hostile_guest::limit_holds_between_envs,
        hostile_guest::copy_into_an_env_replaces_a_pipe,
        hostile_neighbour::state_and_sockets_are_private,
        hostile_neighbour::project_of_a_neighbour_is_not_used,
        errors::fails_without_engine,
        errors::fails_without_permission,
        errors::rejects_unknown_image,
        errors::rejects_existing_name,
        errors::rejects_invalid_files,
        errors::rejects_invalid_arguments,
        errors::removal_needs_confirmation,
        errors::failed_start_shows_the_log_of_the_engine,
        frozen::commands_thaw_a_frozen_env,
        full_state::full_state_disk_stops_neither_removal_nor_gc,
        guest::exec_passes_exit_codes_and_streams,
        guest::exec_runs_as_the_user,
        guest::password_is_set_literally,
        guest::ssh_accepts_the_key,
        guest::forwards_a_port,
        guest::exec_forwards_signals,
        guest::ssh_agent_is_forwarded_and_rolled_back,
        copies::clone_has_the_files_but_its_own_identity,
        copies::renamed_env_keeps_its_data,
        copies::published_image_creates_distinct_envs,
        copies::deleted_project_is_restored,
        docker::docker_works_after_restart,
        docker::docker_nesting_is_applied_or_rejected,
        multi_env::patterns_select_and_create_envs,
        multi_env::limits_come_from_flags_then_file,
        mounts::files_belong_to_the_caller_and_not_to_root,
        mounts::host_is_protected_from_a_writable_project,
        mounts::moved_source_stops_the_start,
        mounts::restore_keeps_the_mounts_of_the_file,
        mounts::root_shares_only_what_others_read,
        mounts::impossible_mounts_are_refused_before_creation,
        multi_env::events_report_changes,
        multi_env::ssh_config_block_works,
        multi_env::preferences_take_effect,
        multi_env::generates_completions_and_manual_pages,
        multi_env::doctor_reports_findings,
        sessions::stop_with_open_session_asks,
        sessions::stop_without_terminal_or_with_force_does_not_ask,
        sessions::terminal_follows_the_window_size,
        setup::setup_runs_once_as_user,
        setup::failed_setup_fails_create,
        setup::host_variables_are_passed,
        transfer::copies_files_with_any_name,
        transfer::directories_are_merged_not_replaced,
        transfer::rejects_invalid_paths,
        transfer::transfer_reports_progress,
        transfer::full_disk_leaves_no_partial_files,
        killed::killed_create_is_rolled_back,
        killed::killed_reset_is_completed,
        killed::killed_removal_is_completed_or_rolled_back,
        killed::killed_undo_is_completed,
        killed_copies::killed_clone_is_complete_or_gone,
        killed_copies::killed_rename_is_consistent,
        killed_copies::killed_restart_leaves_env_running,
        killed_copies::killed_publish_leaves_env_unchanged,
        killed_copies::killed_transfer_is_complete_or_gone,
        killed_copies::killed_transfer_between_envs_is_complete_or_gone,
        killed_copies::killed_project_deletion_can_be_undone,
    ]);
    trials.push(Trial::test(
        "writers::concurrent_writers_lose_no_update",
        || {
            let wrote = writers::concurrent_writers_lose_no_update();
            wrote.map_err(|error| Failed::from(format!("{error:#}")))
        },
    ));
    harness::run(trials)
}
