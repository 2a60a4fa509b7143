//! Terminal sessions that end with an env.

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::model::EnvPattern;
use lxc_dev_manager_core::project::Project;

use super::multi_env::matching_envs;
use crate::confirm;
use crate::context::Context;

/// Asks for confirmation if terminal sessions would end. Without a terminal it only reports them, because
/// scripts of the original CLI stop envs.
pub(super) fn ask(
    context: &Context,
    project: &Project,
    patterns: &[EnvPattern],
    question: &str,
) -> Result<()> {
    let mut losses = Vec::new();
    for env in matching_envs(project, patterns)? {
        match context.operations.sessions(project, &env)? {
            0 => {}
            open => losses.push(format!("`{env}`: {}.", describe(open))),
        }
    }
    let text = losses.join("\n");
    match losses.is_empty() {
        true => Ok(()),
        false if confirm::can_ask() => confirm::ask(&text, question),
        false => {
            context.printer.status(&text);
            Ok(())
        }
    }
}

/// Describes open sessions.
pub(super) fn describe(open: u32) -> String {
    match open {
        1 => "one open terminal session ends".to_owned(),
        _ => format!("{open} open terminal sessions end"),
    }
}
