//! Data to stdout, status to stderr, and errors with cause and hint.

use std::io::{self, IsTerminal, Write};

use console::Style;

use lxc_dev_manager_core::escape::visible;
use lxc_dev_manager_core::model::EnvStatus;
use lxc_dev_manager_core::view::SCHEMA;
use lxc_dev_manager_core::{Error, ErrorKind};

use serde::Serialize;

use crate::args::{Color, Global};

#[derive(Debug, Clone)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
}

/// Envelope of all JSON output.
#[derive(Serialize)]
struct Document<T> {
    schema: u32,
    #[serde(flatten)]
    data: T,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let colored = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        };
        Self {
            json: global.json,
            quiet: global.quiet,
            color_out: colored(io::stdout().is_terminal()),
            color_err: colored(io::stderr().is_terminal()),
        }
    }

    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Prints data: `value` with `--json`, otherwise `text`.
    pub(crate) fn data<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) {
        let document = Document {
            schema: SCHEMA,
            data: value,
        };
        let text = if self.json {
            serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
        } else {
            text(self)
        };
        Self::write(&text);
    }

    /// Prints one line of a stream: `value` with `--json`, otherwise `text`.
    pub(crate) fn line<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) {
        let document = Document {
            schema: SCHEMA,
            data: value,
        };
        if self.json {
            Self::write(&(serde_json::to_string(&document).unwrap_or_default() + "\n"));
        } else if !self.quiet {
            Self::write(&(text(self) + "\n"));
        }
    }

    fn write(text: &str) {
        // A closed pipe (`| head`) is not a failure.
        let _ = io::stdout()
            .write_all(text.as_bytes())
            .and_then(|()| io::stdout().flush());
    }

    /// Prints a result: `value` with `--json`, otherwise `text`.
    pub(crate) fn done<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) {
        if self.json || !self.quiet {
            self.data(value, |printer| format!("{}\n", text(printer)));
        }
    }

    /// Prints a status line to stderr.
    pub(crate) fn status(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Prints an error to stderr.
    pub(crate) fn error(&self, error: &Error) {
        let text = if self.json {
            let report = serde_json::json!({ "schema": SCHEMA, "error": error.report() });
            format!("{report}\n")
        } else {
            self.error_text(error)
        };
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn error_text(&self, error: &Error) -> String {
        let bold = |text: &str, style: Style| paint(text, &style.bold(), self.color_err);
        // Lines stay lines: a hint may have several.
        let visible = |text: &str| {
            let lines: Vec<_> = text.split('\n').map(visible).collect();
            lines.join("\n")
        };
        let head = bold("error:", Style::new().red());
        let mut text = format!("{head} {}\n", visible(&error.to_string()));
        for cause in error.causes() {
            let head = bold("caused by:", Style::new());
            text.push_str(&format!("  {head} {}\n", visible(&cause)));
        }
        if let Some(hint) = error.hint() {
            let head = bold("hint:", Style::new().cyan());
            text.push_str(&format!("  {head} {}\n", visible(hint)));
        }
        text
    }

    pub(crate) fn good(&self, text: &str) -> String {
        paint(text, &Style::new().green(), self.color_out)
    }

    pub(crate) fn warning(&self, text: &str) -> String {
        paint(text, &Style::new().yellow(), self.color_out)
    }

    pub(crate) fn bad(&self, text: &str) -> String {
        paint(text, &Style::new().red().bold(), self.color_out)
    }

    pub(crate) fn dim(&self, text: &str) -> String {
        paint(text, &Style::new().dim(), self.color_out)
    }

    pub(crate) fn bold(&self, text: &str) -> String {
        paint(text, &Style::new().bold(), self.color_out)
    }

    /// Returns the label of a status in its colour.
    pub(crate) fn status_word(&self, status: EnvStatus) -> String {
        let style = match status {
            EnvStatus::Running => Style::new().green(),
            EnvStatus::Stopped => Style::new().dim(),
            EnvStatus::Frozen => Style::new().blue(),
            EnvStatus::Error | EnvStatus::Unreachable => Style::new().red(),
            EnvStatus::NotFound => Style::new().yellow(),
        };
        paint(status.label(), &style, self.color_out)
    }
}

fn paint(text: &str, style: &Style, color: bool) -> String {
    style
        .clone()
        .force_styling(color)
        .apply_to(text)
        .to_string()
}

/// Exit code of a failure: 1 user or configuration, 3 engine, 255 internal.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidName
        | ErrorKind::Config
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::NotOurs
        | ErrorKind::Conflict
        | ErrorKind::NeedsConfirmation
        | ErrorKind::Untrusted
        | ErrorKind::Cancelled
        | ErrorKind::Io => 1,
        ErrorKind::Unreachable
        | ErrorKind::PermissionDenied
        | ErrorKind::Unsupported
        | ErrorKind::Engine
        | ErrorKind::Guest
        | ErrorKind::Timeout => 3,
        ErrorKind::Internal => 255,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printer(color: bool) -> Printer {
        Printer {
            json: false,
            quiet: false,
            color_out: color,
            color_err: color,
        }
    }

    #[test]
    fn errors_show_cause_and_hint_once() {
        let error = Error::new(ErrorKind::Unreachable, "LXD is not reachable at /socket")
            .with_hint("start it")
            .context("cannot restore `dev`");
        assert_eq!(
            printer(false).error_text(&error),
            "error: cannot restore `dev`\n  caused by: LXD is not reachable at /socket\n  \
             hint: start it\n"
        );
        assert!(printer(true).error_text(&error).contains("\u{1b}["));
    }
}
