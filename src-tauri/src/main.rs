//! The desktop app: one binary, two kinds of process.
//!
//! Started plainly it is the *app*: engine room, tray and control socket, without any web view.
//! Started with `window` it is the *window*: one web view that talks to the app over the control
//! socket and ends when it is closed, so that a closed window costs nothing.
#![cfg_attr(not(debug_assertions), windows_subsystem = "windows")]

mod app;
mod host;
mod launch;
mod notice;
mod tray;
mod window;

use std::process::ExitCode;

use anyhow::Context as _;

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("LDM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    launch::require_display(&|name| std::env::var_os(name))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")?;
    tauri::async_runtime::set(runtime.handle().clone());
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => app::run(&runtime),
        ["window"] => window::run(&runtime),
        other => anyhow::bail!("unknown arguments {other:?}: there is only `window`"),
    }
}
