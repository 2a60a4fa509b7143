//! Facts about `limactl` that our backend relies on, one function each. Only a real one can prove them.

mod changes;
mod creation;
mod events;
pub mod guest;
mod lifecycle;
mod listing;

use anyhow::Result;
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Lima, LimaStage};

type Fact = fn(&LimaStage) -> Result<()>;

macro_rules! facts {
    ($($module:ident::$function:ident),* $(,)?) => {
        [$((concat!("facts::", stringify!($module), "::", stringify!($function)), $module::$function as Fact)),*]
    };
}

pub fn trials(lima: &Lima) -> Vec<Trial> {
    let facts = facts![
        listing::the_version_is_a_line,
        listing::an_empty_list_is_nothing_and_a_warning,
        listing::a_broken_yaml_has_no_status,
        listing::hidden_directories_are_no_instances,
        creation::new_instance_is_stopped,
        creation::used_name_is_refused,
        creation::bad_names_are_refused,
        creation::names_are_as_long_as_sockets_allow,
        creation::bad_yaml_is_refused_and_leaves_nothing,
        creation::unknown_fields_are_warned_of,
        creation::a_newer_minimum_version_is_refused,
        creation::keys_are_created_once,
        lifecycle::a_start_ends_when_it_runs,
        lifecycle::a_start_shows_broken_for_a_moment,
        lifecycle::starting_twice_is_no_error,
        lifecycle::stopping_a_stopped_instance_is_refused,
        lifecycle::a_stopped_one_keeps_its_port_in_the_list,
        lifecycle::a_killed_agent_leaves_it_broken_until_a_forced_stop,
        lifecycle::a_running_one_is_not_deleted,
        lifecycle::deleting_a_missing_instance_is_a_success,
        lifecycle::a_directory_without_yaml_is_broken_and_not_deleted,
        lifecycle::nothing_outlives_a_stop_or_a_delete,
        lifecycle::slow_start_leaves_the_machine_running,
        changes::a_disk_grows_and_does_not_shrink,
        changes::a_clone_has_the_files_and_no_pids,
        changes::a_rename_forgets_the_protection,
        changes::a_protected_one_is_not_deleted,
        guest::the_user_is_as_asked_for,
        guest::provision_scripts_run_at_each_boot,
        guest::a_failing_script_fails_no_start_and_leaves_a_trace,
        guest::mounts_are_seen_and_written_as_allowed,
        guest::files_outlive_a_stop,
        guest::ssh_by_its_config_reaches_it,
        guest::a_port_on_the_guests_loopback_is_reached,
        guest::host_keys_change_with_each_boot,
        events::each_start_has_a_new_log_with_running_and_exiting,
        events::a_rule_forwards_a_port,
    ];
    facts
        .into_iter()
        .flat_map(|(name, fact)| lima.real_trial(name, fact))
        .collect()
}
