//! Data to stdout, status to stderr, and errors with cause and hint.

use std::io::{self, IsTerminal, Write};

use lxc_dev_manager_core::model::EnvStatus;
use lxc_dev_manager_core::view::SCHEMA;
use lxc_dev_manager_core::{Error, ErrorKind};
use owo_colors::{OwoColorize, Style};
use serde::Serialize;

use crate::args::{Color, Global};

/// Where a command writes.
#[derive(Debug, Clone)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
}

/// What stands around every JSON object.
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

    /// Whether data are JSON.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Whether status lines are shown.
    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Prints data: `text` for people, `value` for programs.
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

    /// Prints one of several data, each a line: of JSON, or of `text`.
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
        // A reader that is gone (`| head`) is not a failure of ours.
        let _ = io::stdout()
            .write_all(text.as_bytes())
            .and_then(|()| io::stdout().flush());
    }

    /// Says that something was done: `text` for people, `value` for programs.
    pub(crate) fn done<T: Serialize>(&self, value: &T, text: impl FnOnce(&Self) -> String) {
        if self.json || !self.quiet {
            self.data(value, |printer| format!("{}\n", text(printer)));
        }
    }

    /// A status line on stderr.
    pub(crate) fn status(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// An error on stderr.
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
        let bold = |text: &str, style: Style| {
            if self.color_err {
                text.style(style).to_string()
            } else {
                text.to_owned()
            }
        };
        let mut text = format!("{} {error}\n", bold("error:", Style::new().red().bold()));
        for cause in error.causes() {
            text.push_str(&format!(
                "  {} {cause}\n",
                bold("caused by:", Style::new().bold())
            ));
        }
        if let Some(hint) = error.hint() {
            text.push_str(&format!(
                "  {} {hint}\n",
                bold("hint:", Style::new().cyan())
            ));
        }
        text
    }

    /// What is as it should be.
    pub(crate) fn good(&self, text: &str) -> String {
        self.styled(text, Style::new().green())
    }

    /// What should be looked at.
    pub(crate) fn warning(&self, text: &str) -> String {
        self.styled(text, Style::new().yellow())
    }

    /// What doesn't work.
    pub(crate) fn bad(&self, text: &str) -> String {
        self.styled(text, Style::new().red().bold())
    }

    fn styled(&self, text: &str, style: Style) -> String {
        if self.color_out {
            text.style(style).to_string()
        } else {
            text.to_owned()
        }
    }

    /// Text that is set back.
    pub(crate) fn dim(&self, text: &str) -> String {
        if self.color_out {
            text.dimmed().to_string()
        } else {
            text.to_owned()
        }
    }

    /// Text that stands out.
    pub(crate) fn bold(&self, text: &str) -> String {
        if self.color_out {
            text.bold().to_string()
        } else {
            text.to_owned()
        }
    }

    /// A state, by word and colour.
    pub(crate) fn status_word(&self, status: EnvStatus) -> String {
        let style = match status {
            EnvStatus::Running => Style::new().green(),
            EnvStatus::Stopped => Style::new().dimmed(),
            EnvStatus::Frozen => Style::new().blue(),
            EnvStatus::Error | EnvStatus::Unreachable => Style::new().red(),
            EnvStatus::NotFound => Style::new().yellow(),
        };
        if self.color_out {
            status.label().style(style).to_string()
        } else {
            status.label().to_owned()
        }
    }
}

/// The exit code of a failure: 1 user or configuration, 3 engine, 255 a defect of ours.
pub(crate) fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::InvalidName
        | ErrorKind::Config
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::NotOurs
        | ErrorKind::Conflict
        | ErrorKind::NeedsConfirmation
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
    fn an_error_names_cause_and_hint_once() {
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
