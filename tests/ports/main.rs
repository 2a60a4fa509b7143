//! Routes to ports of real guests: stale addresses and relays. Run one by one, because descriptors of this process are
//! counted.

mod claimed_addresses;
mod guest;
mod reassigned_addresses;
mod relays;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    harness::run_one_by_one(harness::on_engines(engine_tests![
        claimed_addresses::claimed_address_of_the_host_is_refused,
        claimed_addresses::claimed_address_of_another_env_is_refused,
        reassigned_addresses::reassigned_address_is_not_dialled,
        reassigned_addresses::relay_at_reassigned_address_is_not_used,
        relays::concurrent_dials_start_one_relay,
        relays::killed_relay_is_replaced,
        relays::dials_leak_no_descriptors,
        relays::relay_handles_many_connections,
        relays::relay_runs_on_busybox,
        relays::relay_ends_with_its_process,
        relays::relay_uses_an_executable_directory,
        relays::falls_back_to_ssh_without_relay,
    ]))
}
