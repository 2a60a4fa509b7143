//! One thing done to several envs.

use futures_util::StreamExt;
use lxc_dev_manager_core::model::{EnvName, EnvPattern};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::context::Context;
use crate::output::{Printer, exit_code};
use crate::progress;

/// How many envs are worked on at once: each is work for the engine's disk.
const AT_ONCE: usize = 4;

/// What was done to one env: for programs, and for people.
pub(crate) struct Done {
    pub(crate) data: Value,
    pub(crate) text: String,
}

/// These patterns, or one that means all envs where there are none.
pub(crate) fn or_all(patterns: Vec<EnvPattern>) -> Vec<EnvPattern> {
    match patterns.is_empty() {
        true => vec![EnvPattern::Glob("*".to_owned())],
        false => patterns,
    }
}

/// The envs that patterns mean, in the file's order, each once.
///
/// # Errors
/// `NotFound` for a pattern that means none.
pub(crate) fn chosen(project: &Project, patterns: &[EnvPattern]) -> Result<Vec<EnvName>> {
    let known = project.file().env_names();
    let mut chosen: Vec<EnvName> = Vec::new();
    for pattern in patterns {
        let matching: Vec<EnvName> = match pattern {
            // One that isn't there is refused by what is done to it, with what there is.
            EnvPattern::Name(name) => vec![name.clone()],
            EnvPattern::Glob(_) => {
                let all = known.iter().filter(|name| pattern.matches(name));
                all.cloned().collect()
            }
        };
        if matching.is_empty() {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("no env is called like `{pattern}`");
            let hint = match names.as_slice() {
                [] => "there are none yet".to_owned(),
                _ => format!("there are {}", names.join(", ")),
            };
            return Err(Error::new(ErrorKind::NotFound, message).with_hint(hint));
        }
        for name in matching {
            if !chosen.contains(&name) {
                chosen.push(name);
            }
        }
    }
    Ok(chosen)
}

/// What was done to the envs of some patterns.
pub(crate) struct Results {
    /// One name was given, and is answered as such.
    single: bool,
    pub(crate) names: Vec<EnvName>,
    pub(crate) results: Vec<Result<Done>>,
}

/// Does one thing to the envs of these patterns. A single name is answered as such; several are answered
/// one by one, and those that fail don't keep the others from being done.
///
/// Returns the exit code.
pub(crate) async fn each(
    context: &Context,
    project: &Project,
    patterns: &[EnvPattern],
    one: impl AsyncFn(Project, EnvName) -> Result<Done>,
) -> Result<u8> {
    let done = try_each(context, project, patterns, one).await?;
    finish(context, done)
}

/// The same, without an answer yet.
pub(crate) async fn try_each(
    context: &Context,
    project: &Project,
    patterns: &[EnvPattern],
    one: impl AsyncFn(Project, EnvName) -> Result<Done>,
) -> Result<Results> {
    // What was interrupted comes first: it may give an env another name.
    progress::show(context, context.operations.recover()).await?;
    let project = &project.fresh()?;
    let names = chosen(project, patterns)?;
    let single = matches!(patterns, [EnvPattern::Name(_)]);
    let all = async {
        let started = names.iter().map(|name| one(project.clone(), name.clone()));
        Ok(futures_util::stream::iter(started)
            .buffered(AT_ONCE)
            .collect::<Vec<_>>()
            .await)
    };
    let results = match single {
        true => progress::show(context, all).await?,
        false => progress::show_several(context, all).await?,
    };
    Ok(Results {
        single,
        names,
        results,
    })
}

/// Answers what was done. Returns the exit code.
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
