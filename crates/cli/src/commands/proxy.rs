//! `proxy` and `serve`

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use console::{Term, truncate_str};
use lxc_dev_manager_core::forward::{FocusRequest, Scope, Session, max_connections};
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

/// Refresh interval of the table.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Pause before the forwarder is asked again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Lower connection limits cause a warning.
const LOW_CONNECTION_LIMIT: u64 = 10_000;

pub(crate) async fn run(context: &Context, args: Proxy) -> Result<()> {
    let project = context.project()?;
    let matches_all =
        |pattern: &EnvPattern| matches!(pattern, EnvPattern::Glob(glob) if glob == "*");
    if args.names.iter().any(matches_all) {
        let path = project.directory().display().to_string();
        return forward(context, vec![Scope::Project { path }], None).await;
    }
    let names = multi_env::matching_envs(&project, &args.names)?;
    let mut scopes = Vec::new();
    for name in &names {
        let env = ensure_forwardable(context, &project, name).await?;
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

/// Rejects an env without ports to forward.
async fn ensure_forwardable(
    context: &Context,
    project: &Project,
    name: &EnvName,
) -> Result<EnvRef> {
    let env = context.operations.known_env(project, name)?;
    if project.file().ports(name)?.is_empty() {
        let error = Error::new(ErrorKind::Config, format!("`{name}` has no ports"));
        return Err(error.with_hint(format!("add one: `lxc-dev-manager port add {name} 8000`")));
    }
    if !context
        .operations
        .native_ports(project, name)
        .await
        .is_empty()
    {
        let message = format!("the engine forwards the ports of `{name}`");
        return Err(Error::new(ErrorKind::Conflict, message).with_hint(
            "remove `forwarding: native` from containers.yaml, run `lxc-dev-manager config apply`, and restart the env",
        ));
    }
    if !context.operations.may_wake(project, name) {
        context.operations.running_env(project, name).await?;
    }
    Ok(env)
}

async fn forward(context: &Context, scopes: Vec<Scope>, focus: Option<EnvRef>) -> Result<()> {
    if let Some(remote) = &context.remote {
        // The forwarder may be another process, which reads the remote from the file.
        let message = "forwarding ignores `--remote`: it uses the remote of the project's file";
        return Err(
            Error::new(ErrorKind::Unsupported, message).with_hint(format!(
                "add `remote: {remote}` to containers.yaml and omit `--remote`"
            )),
        );
    }
    if let Some(limit) = max_connections().filter(|limit| *limit < LOW_CONNECTION_LIMIT) {
        let text = format!("Connection limit: {limit}; see `ulimit -Hn`");
        context.printer.status(&text);
    }
    let shutdown = CancellationToken::new();
    let (session, running) =
        Session::new(context.default_operations.clone(), scopes, shutdown.clone());
    let shown = async {
        if let Some(env) = focus {
            take_focus(context, &session, env).await?;
        }
        context.printer.status("Forwarding until Ctrl+C");
        if std::io::stdout().is_terminal() && !context.printer.json() && !context.printer.quiet() {
            show_table(context, &session).await
        } else {
            show_lines(context, &session).await
        }
    };
    let mut running = std::pin::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        shown = shown => shown?,
        () = stop_signal() => {}
    }
    let draining = session.draining();
    shutdown.cancel();
    tokio::select! {
        ended = running => ended,
        () = report_draining(context, draining) => Ok(()),
        // The second Ctrl+C stops draining.
        () = stop_signal() => Ok(()),
    }
}

/// Reports the connections that delay the exit.
async fn report_draining(context: &Context, mut draining: watch::Receiver<usize>) {
    if let Ok(open) = draining.wait_for(|open| *open > 0).await {
        let text = match *open {
            1 => "Another process took over; one connection remains".to_owned(),
            open => format!("Another process took over; {open} connections remain"),
        };
        context
            .printer
            .status(&format!("{text} for up to 30 s, or until Ctrl+C"));
    }
    std::future::pending().await
}

/// Makes the env the default target of its ports and reports ports taken from another env.
async fn take_focus(context: &Context, session: &Session, env: EnvRef) -> Result<()> {
    let mut changes = session.changes();
    let is_listed = |forwards: &Vec<ForwardView>| forwards.iter().any(|forward| forward.env == env);
    if changes.wait_for(is_listed).await.is_err() {
        return Ok(());
    }
    let name = env.env.clone();
    let (port, cut) = (None, false);
    let request = FocusRequest { env, port, cut };
    let moves = loop {
        match session.forwarder().await?.focus(request.clone()).await {
            // The forwarder ended; another process, perhaps this one, takes over.
            Err(error) if error.kind() == ErrorKind::Unreachable => {
                tokio::time::sleep(RETRY_INTERVAL).await
            }
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

/// Prints a line for each new or changed forward.
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
            let shown = |view: &ForwardView| (view.state, view.focused, view.problem.clone());
            if before.map(shown) != Some(shown(&forward)) {
                print_line(context, &forward);
                known.insert(key, forward);
            }
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn print_line(context: &Context, forward: &ForwardView) {
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

/// Draws a table and redraws it at each change and every second.
async fn show_table(context: &Context, session: &Session) -> Result<()> {
    let terminal = Term::stdout();
    let mut changes = session.changes();
    let (mut drawn, mut rates) = (0, Rates::default());
    loop {
        // Fails during a handover to another process.
        if let Ok(forwards) = session.forwarder().await?.forwards().await {
            let scopes = session.scopes();
            let own = forwards
                .into_iter()
                .filter(|forward| concerns(&scopes, forward));
            let own: Vec<ForwardView> = own.collect();
            // A wrapped line would break the count of lines to clear.
            let width = usize::from(terminal.size().1);
            let text: String = table(&context.printer, &own, &mut rates)
                .lines()
                .map(|line| format!("{}\n", truncate_str(line, width, "…")))
                .collect();
            let failed = |error| Error::io("cannot write to the terminal", error);
            terminal.clear_last_lines(drawn).map_err(failed)?;
            terminal.write_str(&text).map_err(failed)?;
            drawn = text.lines().count();
        }
        // The end of the session also ends this future.
        let _ = tokio::time::timeout(REFRESH_INTERVAL, changes.changed()).await;
        changes.mark_unchanged();
    }
}

/// Resolves on SIGINT or SIGTERM.
async fn stop_signal() {
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
