//! Messages in the two forms that limactl writes: text on its stderr, JSON in the host agent's log.

use std::io::Write;

use serde_json::json;

/// Go's `%#q`: in back quotes where that is possible.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains('`') || text.chars().any(|c| c.is_control() && c != '\t') {
        format!("{text:?}")
    } else {
        format!("`{text}`")
    }
}

pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A value as it stands in a line of text: bare where no character asks for quotes.
fn field(text: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(bare) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

fn line(level: &str, message: &str, fields: &[(&str, &str)]) {
    let seconds = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let mut text = format!("time=\"{seconds}\" level={level} msg={}", field(message));
    for (key, value) in fields {
        text.push_str(&format!(" {key}={}", field(value)));
    }
    // Where nobody reads it, it is lost.
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(crate) fn info(message: impl AsRef<str>) {
    line("info", message.as_ref(), &[]);
}

pub(crate) fn warn(message: impl AsRef<str>) {
    line("warning", message.as_ref(), &[]);
}

pub(crate) fn warn_with(message: &str, fields: &[(&str, &str)]) {
    line("warning", message, fields);
}

pub(crate) fn fatal(message: impl AsRef<str>) {
    line("fatal", message.as_ref(), &[]);
}

/// A warning on the host agent's stderr, with its cause in a field of its own.
pub(crate) fn agent_error(message: &str, error: &anyhow::Error) {
    let cause = format!("{error:#}");
    let entry = json!({"error": cause, "level": "warning", "msg": message, "time": now()});
    let _ = writeln!(std::io::stderr(), "{entry}");
}

/// The host agent's stderr.
pub(crate) fn agent(level: &str, message: impl AsRef<str>) {
    let entry = json!({"level": level, "msg": message.as_ref(), "time": now()});
    let _ = writeln!(std::io::stderr(), "{entry}");
}
