//! `mv`, `cp`

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use lxc_dev_manager_core::model::{EnvName, EnvPattern};
use lxc_dev_manager_core::operations::{Place, TransferRequest, Transferred};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::multi_env::{Done, Results, finish, try_each};
use crate::args::Mv;
use crate::confirm;
use crate::context::Context;
use crate::words::size;

/// One side of a copy, as it was written.
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
            let message = "several envs can't be copied from at once";
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("name one env; the target may be a pattern"));
        }
        (_, Side::Guests(pattern, _)) | (Side::Guests(pattern, _), _) => vec![pattern.clone()],
        _ => {
            let message = "neither of the two is in an env";
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("write `NAME:PATH` for a path in an env"));
        }
    };
    let copy = async |project: Project, env: EnvName, make_directories: bool| {
        let place = |side: &Side| match side {
            Side::Host(path) => Place::Host(path.clone()),
            Side::Guests(EnvPattern::Name(name), path) => guest(name, path),
            Side::Guests(EnvPattern::Glob(_), path) => guest(&env, path),
        };
        let request = TransferRequest {
            from: place(&source),
            to: place(&target),
            make_directories,
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
    let unmade = without_directory(&first);
    if unmade.is_empty() || !confirm::can_ask() {
        return finish(context, first);
    }
    let question = match unmade.len() {
        1 => "Make it?",
        _ => "Make them?",
    };
    confirm::ask(&missing(&first, &unmade).join("\n"), question)?;
    let again: Vec<EnvPattern> = unmade
        .iter()
        .map(|at| EnvPattern::Name(first.names[*at].clone()))
        .collect();
    let second = try_each(context, &project, &again, async |project, env| {
        copy(project, env, true).await
    });
    for (at, result) in unmade.into_iter().zip(second.await?.results) {
        first.results[at] = result;
    }
    finish(context, first)
}

/// Which of the results want a directory that isn't there.
fn without_directory(done: &Results) -> Vec<usize> {
    let all = done.results.iter().enumerate();
    all.filter(|(_, result)| {
        let kind = result.as_ref().err().map(Error::kind);
        kind == Some(ErrorKind::NeedsConfirmation)
    })
    .map(|(at, _)| at)
    .collect()
}

/// What they want, in words.
fn missing(done: &Results, unmade: &[usize]) -> Vec<String> {
    let errors = unmade
        .iter()
        .filter_map(|at| done.results[*at].as_ref().err());
    errors
        .map(|error| {
            let causes = error.causes();
            format!("{error}: {}.", causes.join(": "))
        })
        .collect()
}

fn guest(env: &EnvName, path: &str) -> Place {
    Place::Guest {
        env: env.clone(),
        path: path.to_owned(),
    }
}

fn done(context: &Context, env: &EnvName, copied: &Transferred) -> Done {
    for name in &copied.skipped {
        let text = format!("left out: {name}, which is no file, directory or link");
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
            "{}: {files}, {}, to {}",
            context.printer.bold(env.as_str()),
            size(copied.bytes),
            copied.target
        ),
    }
}

/// `NAME:PATH` is in an env, anything else on this machine; `./a:b` is, too.
fn side(context: &Context, text: &OsStr) -> Result<Side> {
    let host = |text: &OsStr| Side::Host(context.directory().join(text));
    let bytes = text.as_encoded_bytes();
    let Some(colon) = bytes.iter().position(|byte| *byte == b':') else {
        return Ok(host(text));
    };
    if colon == 0 || bytes[..colon].contains(&b'/') {
        return Ok(host(text));
    }
    let whole: OsString = text.to_owned();
    let whole = whole.into_string().map_err(|_| {
        Error::new(ErrorKind::InvalidName, "a path in an env has to be UTF-8")
            .with_hint("for a path of this machine write `./` before it")
    })?;
    let (name, path) = whole.split_once(':').unwrap_or((&whole, ""));
    let pattern = EnvPattern::parse(name)
        .map_err(|error| error.context(format!("`{whole}` names no env")))?;
    Ok(Side::Guests(pattern, path.to_owned()))
}
