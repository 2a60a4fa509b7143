//! Progress of operations: a spinner on terminals, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::Step;
use lxc_dev_manager_core::event::{Event, EventKind};

use crate::context::Context;

/// Shorter operations show no spinner.
const SPINNER_DELAY: Duration = Duration::from_millis(500);
const TICK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs an operation and shows its steps on stderr.
pub(crate) async fn show<T>(
    context: &Context,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    display(context, operation, false).await
}

/// Like `show`, with the name of the env before each step.
pub(crate) async fn show_with_names<T>(
    context: &Context,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    display(context, operation, true).await
}

async fn display<T>(
    context: &Context,
    operation: impl Future<Output = Result<T>>,
    with_names: bool,
) -> Result<T> {
    let mut events = context.operations.bus().subscribe();
    let mut display = Display::new(context, with_names);
    let reveal = tokio::time::sleep(SPINNER_DELAY);
    tokio::pin!(operation, reveal);
    loop {
        tokio::select! {
            biased;
            event = events.recv() => {
                // A lagging receiver loses steps, which is harmless.
                if let Ok(Event { kind, .. }) = event { display.on(kind) }
            }
            result = &mut operation => {
                // Show events sent just before the end.
                while let Ok(Event { kind, .. }) = events.try_recv() {
                    display.on(kind);
                }
                display.end();
                return result;
            }
            () = &mut reveal, if !display.revealed => display.reveal(),
        }
    }
}

struct Display<'a> {
    context: &'a Context,
    bar: Option<ProgressBar>,
    last: String,
    revealed: bool,
    with_names: bool,
}

impl<'a> Display<'a> {
    fn new(context: &'a Context, with_names: bool) -> Self {
        Self {
            context,
            bar: None,
            last: String::new(),
            revealed: false,
            with_names,
        }
    }

    fn reveal(&mut self) {
        self.revealed = true;
        if self.context.printer.quiet() || !io::stderr().is_terminal() {
            return;
        }
        let bar = ProgressBar::new(100)
            .with_style(style(&Step {
                text: self.last.clone(),
                percent: None,
                bytes: None,
            }))
            .with_message(self.last.clone());
        bar.enable_steady_tick(TICK_INTERVAL);
        self.bar = Some(bar);
    }

    fn on(&mut self, kind: EventKind) {
        match kind {
            EventKind::Progress { step, env, .. } if self.with_names => self.step(Step {
                text: format!("{}: {}", env.env, step.text),
                ..step
            }),
            EventKind::Progress { step, .. } | EventKind::Step(step) => self.step(step),
            EventKind::Notice(text) => self.print(&text),
            EventKind::Output { env, line } => {
                let prefix = if self.with_names {
                    env.env.as_str()
                } else {
                    ""
                };
                self.print(&format!("{prefix}  | {line}"));
            }
            EventKind::Started { .. } | EventKind::Finished(_) | EventKind::Refused { .. } => {}
        }
    }

    /// Prints a line above the bar.
    fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.context.printer.status(text)),
            None => self.context.printer.status(text),
        }
    }

    fn step(&mut self, step: Step) {
        if let Some(bar) = &self.bar {
            Self::draw(bar, &step);
        } else if !io::stderr().is_terminal() && step.text != self.last {
            self.context.printer.status(&step.text);
        }
        self.last = step.text;
    }

    fn draw(bar: &ProgressBar, step: &Step) {
        bar.set_style(style(step));
        bar.set_position(step.percent.map(u64::from).or(step.bytes).unwrap_or(0));
        bar.set_message(step.text.clone());
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(step: &Step) -> ProgressStyle {
    ProgressStyle::with_template(template(step))
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn template(step: &Step) -> &'static str {
    match (step.percent, step.bytes) {
        (Some(_), _) => "{spinner:.cyan} {msg} {bar:24} {percent}% {elapsed:.dim}",
        (None, Some(_)) => {
            "{spinner:.cyan} {msg} {binary_bytes}, {binary_bytes_per_sec} {elapsed:.dim}"
        }
        (None, None) => "{spinner:.cyan} {msg} {elapsed:.dim}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_percentage_or_bytes_if_known() {
        for (percent, bytes, shown) in [
            (Some(50), None, "{percent}%"),
            (None, Some(3 << 20), "{binary_bytes_per_sec}"),
            (None, None, "{msg}"),
        ] {
            let template = template(&Step {
                text: "copying".to_owned(),
                percent,
                bytes,
            });
            assert!(template.contains(shown), "{template}");
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
