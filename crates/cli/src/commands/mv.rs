//! `mv`, `cp`

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use lxc_dev_manager_core::engine::{Place, TransferRequest, Transferred};
use lxc_dev_manager_core::model::{EnvName, EnvPattern};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;

use super::several::{Done, each};
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
    each(context, &project, &patterns, async |project, env| {
        let place = |side: &Side| match side {
            Side::Host(path) => Place::Host(path.clone()),
            Side::Guests(EnvPattern::Name(name), path) => guest(name, path),
            Side::Guests(EnvPattern::Glob(_), path) => guest(&env, path),
        };
        let request = TransferRequest {
            from: place(&source),
            to: place(&target),
            make_directories: args.yes,
        };
        let copied = copy(context, &project, request).await?;
        Ok(done(context, &env, &copied))
    })
    .await
}

fn guest(env: &EnvName, path: &str) -> Place {
    Place::Guest {
        env: env.clone(),
        path: path.to_owned(),
    }
}

/// Copies, and asks before a directory is made.
async fn copy(
    context: &Context,
    project: &Project,
    request: TransferRequest,
) -> Result<Transferred> {
    let cancel = context.cancelled_by_interrupt();
    let engine = &context.engine;
    let refused = match engine.transfer(project, &request, &cancel).await {
        Err(error) if error.kind() == ErrorKind::NeedsConfirmation => error,
        done => return done,
    };
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused);
    }
    let what = refused.causes().first().cloned().unwrap_or_default();
    confirm::ask(&format!("{what}."), "Make it?")?;
    let request = TransferRequest {
        make_directories: true,
        ..request
    };
    engine.transfer(project, &request, &cancel).await
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
