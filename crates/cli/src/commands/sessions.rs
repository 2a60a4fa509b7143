//! Terminal sessions that would end with an env.

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::EnvPattern;
use lxc_dev_manager_core::project::Project;

use super::multi_env::chosen;
use crate::confirm;
use crate::context::Context;

/// Asks where terminal sessions of ours would end. Without a terminal to ask on it only says so: the
/// original's scripts stop envs.
pub(super) fn ask(
    context: &Context,
    project: &Project,
    patterns: &[EnvPattern],
    question: &str,
) -> Result<()> {
    let mut goes = Vec::new();
    for env in chosen(project, patterns)? {
        match context.operations.sessions(project, &env)? {
            0 => {}
            open => goes.push(format!("`{env}`: {}.", words(open))),
        }
    }
    let text = goes.join("\n");
    match goes.is_empty() {
        true => Ok(()),
        false if confirm::can_ask() => confirm::ask(&text, question),
        false => {
            context.printer.status(&text);
            Ok(())
        }
    }
}

/// So many sessions, in words.
pub(super) fn words(open: u32) -> String {
    match open {
        1 => "a terminal session that is open ends".to_owned(),
        _ => format!("{open} terminal sessions that are open end"),
    }
}
