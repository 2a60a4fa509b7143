//! Engines over HTTPS, and their projects: the private engines, open on loopback while the suite runs.

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
        https::untrusted_client_gets_instructions,
        https::configuration_of_the_engines_client_is_enough,
        https::network_of_a_remote_is_not_checked,
        https::the_command_line_works_at_a_remote,
        https::file_sets_its_remote,
        https::unreachable_remotes_are_reported,
        ports::services_of_both_families_are_reached,
        ports::a_route_ends_with_the_stop,
        ports::guest_without_access_reports_the_reason,
        ports::the_command_line_dials_at_a_remote,
        projects::instances_live_in_a_project,
        projects::the_command_line_follows_the_current_project,
        projects::restricted_user_gets_their_own_project,
        images::an_image_server_of_the_users_own,
        images::an_image_of_another_engine,
        images::similar_name_is_suggested,
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
