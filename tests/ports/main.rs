//! The ways to the ports of real guests, where they are in danger of leading astray or of costing too
//! much. One after the other: descriptors of this process are counted.

mod guest;
mod relays;
mod strangers;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, harness};

fn main() -> ExitCode {
    harness::run_one_by_one(harness::on_engines(engine_tests![
        strangers::an_address_that_another_guest_has_got_is_not_dialled,
        strangers::a_relay_whose_address_another_guest_has_got_is_not_asked,
        relays::one_is_started_for_all_who_wait,
        relays::a_killed_one_is_replaced,
        relays::no_descriptor_is_kept,
        relays::many_connections_pass_at_once,
        relays::a_guest_of_busybox_has_one,
        relays::it_ends_with_the_process_that_started_it,
        relays::it_lives_where_programs_may_be_run,
        relays::a_guest_that_runs_nothing_of_ours_is_reached_by_ssh,
    ]))
}
