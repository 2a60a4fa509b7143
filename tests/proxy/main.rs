//! Tests of forwards on real engines, and of the proxy in this process.

mod control;
mod dials;
mod healing;
mod local;
mod sharing;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness, stage};

fn main() -> ExitCode {
    let mut trials = harness::on_engines(engine_tests![
        control::survives_invalid_messages_and_stale_socket,
        sharing::routes_by_name_default_and_own_port,
        sharing::open_session_keeps_default_target,
        sharing::forwards_follow_the_file,
        healing::listener_survives_restarts,
        healing::restore_resets_transfers,
        healing::session_takes_over_from_killed_forwarder,
        healing::handover_refuses_no_connection,
        healing::port_in_use_names_owner_and_recovers,
        healing::connection_starts_env,
        healing::stopped_forwarder_recovers,
        healing::misbehaving_clients_leak_no_descriptors,
        healing::renamed_env_stays_forwarded,
        healing::other_hosts_reach_only_open_ports,
    ]);
    trials.extend(local::trials());
    trials.extend(dials::trials());
    harness::run(trials)
}
