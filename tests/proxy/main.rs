//! Forwards: sharing, healing, taking over, on real engines; and what clients may do to one, without.

mod control;
mod dials;
mod healing;
mod local;
mod sharing;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness, stage};

fn main() -> ExitCode {
    let mut trials = harness::on_engines(engine_tests![
        control::rubbish_and_stale_sockets,
        sharing::names_focus_and_own_ports,
        sharing::a_session_keeps_its_port,
        sharing::ports_come_and_go_with_the_file,
        healing::services_and_envs_come_back,
        healing::a_restore_in_mid_transfer,
        healing::who_has_a_lease_takes_over,
        healing::who_ends_hands_its_ports_over,
        healing::a_stranger_is_named_and_waited_for,
        healing::a_connection_wakes_an_env,
        healing::a_frozen_forwarder_heals,
        healing::no_descriptor_is_left,
        healing::a_renamed_env_stays_forwarded,
        healing::only_what_the_file_opens_is_reached_from_elsewhere,
    ]);
    trials.extend(local::trials());
    trials.extend(dials::trials());
    harness::run(trials)
}
