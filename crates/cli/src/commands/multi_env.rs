//! Commands that act on several envs.

use futures_util::StreamExt;
use lxc_dev_manager_core::model::{EnvName, EnvPattern};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::{Printer, exit_code};
use crate::progress;

/// Maximum number of parallel operations; each one loads the engine's disk.
const MAX_PARALLEL: usize = 4;

/// Result for one env.
pub(crate) struct Done {
    pub(crate) data: Value,
    pub(crate) text: String,
}

/// Returns the patterns, or `*` if there are none.
pub(crate) fn or_all(patterns: Vec<EnvPattern>) -> Vec<EnvPattern> {
    if patterns.is_empty() {
        vec![EnvPattern::Glob("*".to_owned())]
    } else {
        patterns
    }
}

/// Returns the envs that match the patterns, without duplicates.
///
/// # Errors
/// `NotFound` for a glob without a match.
pub(crate) fn matching_envs(project: &Project, patterns: &[EnvPattern]) -> Result<Vec<EnvName>> {
    let known = project.file().env_names();
    let mut selected: Vec<EnvName> = Vec::new();
    for pattern in patterns {
        let matching: Vec<EnvName> = match pattern {
            // The operation reports unknown names.
            EnvPattern::Name(name) => vec![name.clone()],
            EnvPattern::Glob(_) => {
                let all = known.iter().filter(|name| pattern.matches(name));
                all.cloned().collect()
            }
        };
        if matching.is_empty() {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("no env matches `{pattern}`");
            let hint = match names.as_slice() {
                [] => "there are no envs yet".to_owned(),
                _ => format!("envs: {}", names.join(", ")),
            };
            return Err(Error::new(ErrorKind::NotFound, message).with_hint(hint));
        }
        for name in matching {
            if !selected.contains(&name) {
                selected.push(name);
            }
        }
    }
    Ok(selected)
}

/// Results for the envs of some patterns.
pub(crate) struct Results {
    /// A single name was given: its failure is the command's failure.
    single: bool,
    pub(crate) names: Vec<EnvName>,
    pub(crate) results: Vec<Result<Done>>,
}

/// Runs `one` for all matching envs and prints the results. A failure does not stop the others. Returns
/// the exit code.
pub(crate) async fn each(
    context: &Context,
    project: &Project,
    patterns: &[EnvPattern],
    one: impl AsyncFn(Project, EnvName) -> Result<Done>,
) -> Result<u8> {
    let done = try_each(context, project, patterns, one).await?;
    finish(context, done)
}

/// Runs `one` for all matching envs.
pub(crate) async fn try_each(
    context: &Context,
    project: &Project,
    patterns: &[EnvPattern],
    one: impl AsyncFn(Project, EnvName) -> Result<Done>,
) -> Result<Results> {
    // Recover first: it may rename an env.
    progress::show(context, context.operations.recover()).await?;
    let project = &project.reopen()?;
    let names = matching_envs(project, patterns)?;
    let single = matches!(patterns, [EnvPattern::Name(_)]);
    let all = async {
        let operations = names.iter().map(|name| one(project.clone(), name.clone()));
        Ok(futures_util::stream::iter(operations)
            .buffered(MAX_PARALLEL)
            .collect::<Vec<_>>()
            .await)
    };
    let results = if single {
        progress::show(context, all).await?
    } else {
        progress::show_with_names(context, all).await?
    };
    Ok(Results {
        single,
        names,
        results,
    })
}

/// Prints the results. Returns the exit code.
pub(crate) fn finish(context: &Context, done: Results) -> Result<u8> {
    let mut results = done.results;
    if done.single
        && let Some(result) = results.pop()
    {
        let done = result?;
        context.printer.done(&done.data, |_| done.text.clone());
        return Ok(0);
    }
    Ok(report(&context.printer, &done.names, results))
}

fn report(printer: &Printer, names: &[EnvName], results: Vec<Result<Done>>) -> u8 {
    let mut code = 0;
    let mut rows = Vec::new();
    for (name, result) in names.iter().zip(results) {
        match result {
            Ok(done) => {
                if !printer.json() {
                    printer.done(&done.data, |_| done.text.clone());
                }
                rows.push(done.data);
            }
            Err(error) => {
                code = code.max(exit_code(error.kind()));
                rows.push(json!({ "env": name, "error": error.report() }));
                if !printer.json() {
                    printer.error(&error);
                }
            }
        }
    }
    if printer.json() {
        printer.data(&json!({ "envs": rows }), |_| String::new());
    }
    code
}
