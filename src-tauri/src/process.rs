//! How a process of the desktop begins and ends.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Writes logs to stderr, as many as `LDM_LOG` says.
pub fn log() {
    let wanted = std::env::var("LDM_LOG").ok();
    let wanted = wanted.and_then(|wanted| wanted.parse::<Targets>().ok());
    let wanted = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let output = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // Its complaint about a stderr that is gone would panic: the terminal may be closed by now.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(output.with_filter(wanted))
        .init();
}

/// The code that the process ends with; a failure is logged.
pub fn end(ran: anyhow::Result<ExitCode>) -> ExitCode {
    ran.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

/// The threads for what waits; the main thread belongs to the screen.
///
/// # Errors
/// Where there can be none.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start")
}

/// GTK ends the process where there is no display; say so before.
///
/// # Errors
/// Where there is none.
pub fn require_display(lookup: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<()> {
    let set = |name| lookup(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        bail!("there is no display: the app needs one, `lxc-dev-manager` works without");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_display_it_says_so() {
        let none = |_: &str| None;
        assert!(require_display(&none).is_err() || !cfg!(target_os = "linux"));
        let one = |name: &str| (name == "WAYLAND_DISPLAY").then(|| "wayland-0".into());
        assert!(require_display(&one).is_ok());
    }
}
