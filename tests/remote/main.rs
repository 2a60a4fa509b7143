//! Engines over HTTPS and in projects of theirs: the private engines themselves, open on loopback
//! while the suite runs.

mod admin;
mod https;
mod images;
mod life;
mod ports;
mod projects;
mod server;
mod visitor;

use std::process::ExitCode;

use lxc_dev_manager_tests::{engine_tests, engines, harness};

fn main() -> ExitCode {
    let trials = harness::on_engines(engine_tests![
        https::instances_live_over_https,
        https::events_come_over_https,
        https::a_wrong_certificate_is_refused,
        https::an_unknown_authority_is_refused,
        https::a_visitor_who_is_not_trusted_is_told_how_to_be,
        https::what_the_engines_client_wrote_is_enough,
        https::the_network_of_a_remote_is_none_of_ours,
        https::the_command_line_works_at_a_remote,
        https::a_file_may_name_its_remote,
        https::remotes_that_do_not_answer_are_named,
        ports::services_of_both_families_are_reached,
        ports::a_route_ends_with_the_stop,
        ports::a_guest_that_lets_nobody_in_says_why,
        ports::the_command_line_dials_at_a_remote,
        projects::instances_live_in_a_project,
        projects::the_command_line_follows_the_current_project,
        projects::a_restricted_user_lands_in_a_project_of_their_own,
        images::an_image_server_of_the_users_own,
        images::an_image_of_another_engine,
        images::a_slip_in_a_name_is_forgiven,
    ]);
    let listed = std::env::args().any(|argument| argument == "--list");
    let found = if listed {
        Vec::new()
    } else {
        engines::find().0
    };
    let open: anyhow::Result<Vec<admin::Open>> = found.iter().map(admin::Open::new).collect();
    match open {
        Ok(_open) => harness::run(trials),
        Err(error) => {
            eprintln!("an engine can't be opened on loopback: {error:#}");
            ExitCode::FAILURE
        }
    }
}
