//! Showing what an operation does: a spinner on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::backend::Step;
use lxc_dev_manager_core::event::{Event, EventKind};

use crate::context::Context;

/// An operation that ends sooner than this shows no spinner.
const SHOW_AFTER: Duration = Duration::from_millis(500);
/// How often the spinner turns.
const TURN: Duration = Duration::from_millis(100);

/// Runs an operation and shows its steps on stderr.
pub(crate) async fn show<T>(
    context: &Context,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    display(context, operation, false).await
}

/// The same for what is done to several envs, whose steps then bear their names.
pub(crate) async fn show_several<T>(
    context: &Context,
    operation: impl Future<Output = Result<T>>,
) -> Result<T> {
    display(context, operation, true).await
}

async fn display<T>(
    context: &Context,
    operation: impl Future<Output = Result<T>>,
    several: bool,
) -> Result<T> {
    let mut events = context.operations.bus().subscribe();
    let mut display = Display::new(context, several);
    let reveal = tokio::time::sleep(SHOW_AFTER);
    tokio::pin!(operation, reveal);
    loop {
        tokio::select! {
            biased;
            event = events.recv() => {
                // Falling behind loses steps, and the next one tells where it is.
                if let Ok(Event { kind, .. }) = event { display.on(kind) }
            }
            result = &mut operation => {
                // What it said in its last breath.
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
    /// Steps are of several envs.
    several: bool,
}

impl<'a> Display<'a> {
    fn new(context: &'a Context, several: bool) -> Self {
        Self {
            context,
            bar: None,
            last: String::new(),
            revealed: false,
            several,
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
        bar.enable_steady_tick(TURN);
        self.bar = Some(bar);
    }

    fn on(&mut self, kind: EventKind) {
        match kind {
            EventKind::Progress { step, env, .. } if self.several => self.step(Step {
                text: format!("{}: {}", env.env, step.text),
                ..step
            }),
            EventKind::Progress { step, .. } | EventKind::Step(step) => self.step(step),
            EventKind::Notice(text) => self.say(&text),
            EventKind::Output { env, line } => {
                let whose = if self.several { env.env.as_str() } else { "" };
                self.say(&format!("{whose}  | {line}"));
            }
            EventKind::Started { .. } | EventKind::Finished(_) | EventKind::Refused { .. } => {}
        }
    }

    /// Prints a line above the bar.
    fn say(&self, text: &str) {
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
    fn what_is_known_of_a_step_is_shown() {
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
