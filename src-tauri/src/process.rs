//! Start and end of the desktop processes.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use tokio::runtime::{Builder, Runtime};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Logs to stderr as set by `LDM_LOG`.
pub fn init_logging() {
    let filter = std::env::var("LDM_LOG").ok();
    let filter = filter.and_then(|filter| filter.parse::<Targets>().ok());
    let filter = filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let output = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        // Reporting a closed stderr would panic.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(output.with_filter(filter))
        .init();
}

/// Returns the exit code; logs a failure.
pub fn exit_code(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        ExitCode::FAILURE
    })
}

/// Creates the runtime. The main thread runs the UI.
///
/// # Errors
/// If threads cannot be created.
pub fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start runtime")
}

/// Fails without a display, before GTK ends the process.
///
/// # Errors
/// Without a display.
pub fn require_display(lookup: &dyn Fn(&str) -> Option<OsString>) -> anyhow::Result<()> {
    let set = |name| lookup(name).is_some_and(|value| !value.is_empty());
    if cfg!(target_os = "linux") && !set("DISPLAY") && !set("WAYLAND_DISPLAY") {
        bail!("no display: use the command line, `lxc-dev-manager`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fails_without_display() {
        let none = |_: &str| None;
        assert!(require_display(&none).is_err() || !cfg!(target_os = "linux"));
        let one = |name: &str| (name == "WAYLAND_DISPLAY").then(|| "wayland-0".into());
        assert!(require_display(&one).is_ok());
    }
}
