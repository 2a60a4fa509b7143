//! `mv`, `cp`

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lxc_dev_manager_core::escape::visible;
use lxc_dev_manager_core::model::{EnvName, EnvPattern};
use lxc_dev_manager_core::operations::{Location, TransferRequest, Transferred};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::multi_env::{Done, Results, finish, try_each};
use crate::args::Mv;
use crate::confirm;
use crate::context::Context;
use crate::words::size;

/// Source or target of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    Host(PathBuf),
    Guests(EnvPattern, String),
}

pub(crate) async fn run(context: &Context, args: Mv) -> Result<u8> {
    let project = context.project()?;
    let source = side(context, &args.source)?;
    let target = side(context, &args.target)?;
    let patterns = match (&source, &target) {
        (Side::Guests(EnvPattern::Glob(_), _), _) => {
            let message = "cannot copy from several envs";
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("name one env; the target may be a pattern"));
        }
        (_, Side::Guests(pattern, _)) | (Side::Guests(pattern, _), _) => vec![pattern.clone()],
        _ => {
            let message = "neither path is in an env";
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("use `NAME:PATH` for a path in an env"));
        }
    };
    let copy = async |project: Project, env: EnvName, create_directories: bool| {
        let location = |side: &Side| match side {
            Side::Host(path) => Location::Host(path.clone()),
            Side::Guests(EnvPattern::Name(name), path) => guest(name, path),
            Side::Guests(EnvPattern::Glob(_), path) => guest(&env, path),
        };
        let request = TransferRequest {
            from: location(&source),
            to: location(&target),
            create_directories,
            max: args.max,
        };
        let cancel = context.cancelled_by_interrupt();
        let copied = context
            .operations
            .transfer(&project, &request, &cancel)
            .await?;
        Ok(done(context, &env, &copied))
    };
    let first = try_each(context, &project, &patterns, async |project, env| {
        copy(project, env, args.yes).await
    });
    let mut first = first.await?;
    let missing = without_directory(&first);
    if missing.is_empty() || !confirm::can_ask() {
        return finish(context, first);
    }
    let question = match missing.len() {
        1 => "Create it?",
        _ => "Create them?",
    };
    confirm::ask(&describe_missing(&first, &missing).join("\n"), question)?;
    let retried: Vec<EnvPattern> = missing
        .iter()
        .map(|at| EnvPattern::Name(first.names[*at].clone()))
        .collect();
    let second = try_each(context, &project, &retried, async |project, env| {
        copy(project, env, true).await
    });
    for (at, result) in missing.into_iter().zip(second.await?.results) {
        first.results[at] = result;
    }
    finish(context, first)
}

/// Returns the indices of results that failed because of a missing directory.
fn without_directory(done: &Results) -> Vec<usize> {
    let all = done.results.iter().enumerate();
    all.filter(|(_, result)| {
        let kind = result.as_ref().err().map(Error::kind);
        kind == Some(ErrorKind::NeedsConfirmation)
    })
    .map(|(at, _)| at)
    .collect()
}

fn describe_missing(done: &Results, missing: &[usize]) -> Vec<String> {
    let errors = missing
        .iter()
        .filter_map(|at| done.results[*at].as_ref().err());
    errors
        .map(|error| {
            let causes = error.causes();
            // The guest names the directory.
            visible(&format!("{error}: {}.", causes.join(": "))).into_owned()
        })
        .collect()
}

fn guest(env: &EnvName, path: &str) -> Location {
    Location::Guest {
        env: env.clone(),
        path: path.to_owned(),
    }
}

fn done(context: &Context, env: &EnvName, copied: &Transferred) -> Done {
    for name in &copied.skipped {
        let text = format!("Skipped {name}: not a file, directory or link");
        context.printer.status(&text);
    }
    let files = match copied.files {
        1 => "one file".to_owned(),
        count => format!("{count} files"),
    };
    Done {
        data: json!({
            "env": env,
            "target": copied.target,
            "files": copied.files,
            "bytes": copied.bytes,
            "skipped": copied.skipped,
        }),
        text: format!(
            "{}: copied {files}, {}, to {}",
            context.printer.bold(env.as_str()),
            size(copied.bytes),
            visible(&copied.target)
        ),
    }
}

/// Parses a path: `NAME:PATH` is in an env, anything else (`./a:b` too) on the host.
fn side(context: &Context, text: &OsStr) -> Result<Side> {
    let host = |text: &OsStr| Side::Host(context.directory().join(text));
    let bytes = text.as_encoded_bytes();
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        return Ok(host(text));
    };
    if colon == 0 || bytes[..colon].contains(&b'/') {
        return Ok(host(text));
    }
    let owned: OsString = text.to_owned();
    let text = owned.into_string().map_err(|_| {
        Error::new(ErrorKind::InvalidName, "path in an env is not UTF-8")
            .with_hint("prefix host paths with `./`")
    })?;
    let (name, path) = text.split_once(':').unwrap_or((&text, ""));
    let pattern = EnvPattern::parse(name)
        .map_err(|error| error.context(format!("invalid env in `{text}`")))?;
    Ok(Side::Guests(pattern, path.to_owned()))
}
