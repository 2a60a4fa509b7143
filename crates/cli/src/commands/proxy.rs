//! `proxy` and `serve`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use console::{Term, truncate_str};
use lxc_dev_manager_core::forward::{FocusRequest, Scope, Session, most_connections};
use lxc_dev_manager_core::model::{EnvName, EnvPattern, HostPort};
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::{EnvRef, ForwardView};
use lxc_dev_manager_core::{Error, ErrorKind, Result};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{focus, multi_env};
use crate::args::Proxy;
use crate::context::Context;
use crate::forwards::{Rates, line, table};

/// How often the table shows what passes.
const LOOK: Duration = Duration::from_secs(1);
/// Pause before who forwards is asked again.
const RETRY: Duration = Duration::from_millis(100);
/// Fewer connections than this are worth a word.
const FEW: u64 = 10_000;

pub(crate) async fn run(context: &Context, args: Proxy) -> Result<()> {
    let project = context.project()?;
    let everything =
        |pattern: &EnvPattern| matches!(pattern, EnvPattern::Glob(glob) if glob == "*");
    if args.names.iter().any(everything) {
        let path = project.directory().display().to_string();
        return forward(context, vec![Scope::Project { path }], None).await;
    }
    let names = multi_env::chosen(&project, &args.names)?;
    let mut scopes = Vec::new();
    for name in &names {
        let env = expect_forwardable(context, &project, name).await?;
        scopes.push(Scope::Env { env });
    }
    let focus = match (args.names.as_slice(), names.as_slice()) {
        ([EnvPattern::Name(_)], [name]) => Some(project.env_ref(name)),
        _ => None,
    };
    forward(context, scopes, focus).await
}

pub(crate) async fn serve(context: &Context) -> Result<()> {
    forward(context, vec![Scope::All], None).await
}

/// Refuses an env that nothing could be forwarded of.
async fn expect_forwardable(
    context: &Context,
    project: &Project,
    name: &EnvName,
) -> Result<EnvRef> {
    let env = context.operations.known_env(project, name)?;
    if project.file().ports(name)?.is_empty() {
        let error = Error::new(ErrorKind::Config, format!("`{name}` has no ports"));
        return Err(error.with_hint(format!(
            "give it one: `lxc-dev-manager port add {name} 8000`"
        )));
    }
    if !context
        .operations
        .native_ports(project, name)
        .await
        .is_empty()
    {
        let message = format!("the engine itself forwards the ports of `{name}`");
        return Err(Error::new(ErrorKind::Conflict, message).with_hint(
            "leave `forwarding: native` out of containers.yaml, `lxc-dev-manager config apply`, and restart it",
        ));
    }
    if !context.operations.may_wake(project, name) {
        context.operations.enter(project, name).await?;
    }
    Ok(env)
}

async fn forward(context: &Context, scopes: Vec<Scope>, focus: Option<EnvRef>) -> Result<()> {
    if let Some(remote) = &context.remote {
        // Whoever forwards may be another process, and knows projects by their files.
        let message = "ports are forwarded from where the project's file says";
        return Err(
            Error::new(ErrorKind::Unsupported, message).with_hint(format!(
                "write `remote: {remote}` into containers.yaml, and leave `--remote` out"
            )),
        );
    }
    if let Some(few) = most_connections().filter(|most| *most < FEW) {
        let text = format!("No more than {few} connections at once: see `ulimit -Hn`");
        context.printer.status(&text);
    }
    let shutdown = CancellationToken::new();
    let (session, running) = Session::new(context.usual.clone(), scopes, shutdown.clone());
    let shown = async {
        if let Some(env) = focus {
            take_focus(context, &session, env).await?;
        }
        context.printer.status("Forwarding until Ctrl+C");
        match std::io::stdout().is_terminal() && !context.printer.json() && !context.printer.quiet()
        {
            true => show_table(context, &session).await,
            false => show_lines(context, &session).await,
        }
    };
    let mut running = std::pin::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        shown = shown => shown?,
        () = stopped() => {}
    }
    let left = session.left();
    shutdown.cancel();
    tokio::select! {
        ended = running => ended,
        () = say_left(context, left) => Ok(()),
        // Once more: at once.
        () = stopped() => Ok(()),
    }
}

/// Says for whom the end waits.
async fn say_left(context: &Context, mut left: watch::Receiver<usize>) {
    if let Ok(left) = left.wait_for(|left| *left > 0).await {
        let text = match *left {
            1 => "Another process forwards now; a connection of this one goes on".to_owned(),
            left => format!("Another process forwards now; {left} connections of this one go on"),
        };
        context
            .printer
            .status(&format!("{text}, for 30 s or until Ctrl+C"));
    }
    std::future::pending().await
}

/// The env that was asked for gets what names nobody: said, for it may be taken from another.
async fn take_focus(context: &Context, session: &Session, env: EnvRef) -> Result<()> {
    let mut changes = session.changes();
    let is_there = |forwards: &Vec<ForwardView>| forwards.iter().any(|forward| forward.env == env);
    if changes.wait_for(is_there).await.is_err() {
        return Ok(());
    }
    let name = env.env.clone();
    let (port, cut) = (None, false);
    let request = FocusRequest { env, port, cut };
    let moves = loop {
        match session.forwarder().await?.focus(request.clone()).await {
            // Who forwarded has just gone, and another one takes over: this process, perhaps.
            Err(error) if error.kind() == ErrorKind::Unreachable => tokio::time::sleep(RETRY).await,
            moves => break moves?,
        }
    };
    for moved in moves {
        if moved.from.is_some() {
            context.printer.status(&focus::line(name.as_str(), &moved));
        }
    }
    Ok(())
}

fn concerns(scopes: &[Scope], forward: &ForwardView) -> bool {
    scopes.iter().any(|scope| match scope {
        Scope::Env { env } => *env == forward.env,
        Scope::Project { path } => *path == forward.env.project_path,
        Scope::All | Scope::Answering => true,
    })
}

/// A line for each forward, and for each change of one.
async fn show_lines(context: &Context, session: &Session) -> Result<()> {
    let mut changes = session.changes();
    let mut known: BTreeMap<(EnvRef, HostPort), ForwardView> = BTreeMap::new();
    loop {
        let forwards = changes.borrow_and_update().clone();
        let scopes = session.scopes();
        for forward in forwards
            .into_iter()
            .filter(|forward| concerns(&scopes, forward))
        {
            let key = (forward.env.clone(), forward.host);
            let before = known.get(&key);
            let told = |view: &ForwardView| (view.state, view.focused, view.problem.clone());
            if before.map(told) != Some(told(&forward)) {
                say(context, &forward);
                known.insert(key, forward);
            }
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn say(context: &Context, forward: &ForwardView) {
    let data = json!({
        "env": forward.env.env, "guest": forward.guest, "host": forward.host,
        "url": forward.shared_url(), "name": forward.name,
        "stable": forward.stable, "state": forward.state, "focused": forward.focused,
        "reach": forward.reach, "problem": forward.problem,
    });
    context
        .printer
        .line(&data, |printer| line(printer, forward));
}

/// A table that is drawn anew at each change, and every second while something passes.
async fn show_table(context: &Context, session: &Session) -> Result<()> {
    let terminal = Term::stdout();
    let mut changes = session.changes();
    let (mut drawn, mut rates) = (0, Rates::default());
    loop {
        // While another process is just taking over there is nothing to ask.
        if let Ok(forwards) = session.forwarder().await?.forwards().await {
            let scopes = session.scopes();
            let own = forwards
                .into_iter()
                .filter(|forward| concerns(&scopes, forward));
            let own: Vec<ForwardView> = own.collect();
            // A line that wraps would be two to take back.
            let width = usize::from(terminal.size().1);
            let text: String = table(&context.printer, &own, &mut rates)
                .lines()
                .map(|line| format!("{}\n", truncate_str(line, width, "…")))
                .collect();
            let failed = |error| Error::io("the terminal is gone", error);
            terminal.clear_last_lines(drawn).map_err(failed)?;
            terminal.write_str(&text).map_err(failed)?;
            drawn = text.lines().count();
        }
        // An end of the changes is the end of the session, which ends this too.
        let _ = tokio::time::timeout(LOOK, changes.changed()).await;
        changes.mark_unchanged();
    }
}

/// Resolves at Ctrl+C, and when the process is asked to end.
async fn stopped() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
