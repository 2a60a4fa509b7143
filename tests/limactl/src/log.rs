//! Messages: lines of text on stderr, and the host agent's JSON lines.

use std::io::Write;

use serde_json::{Value, json};

/// A message of a command.
pub(crate) fn print(level: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "level={level} msg={message:?}");
}

/// A message in `ha.stderr.log`.
pub(crate) fn agent(level: &str, message: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "{}",
        json!({"level": level, "msg": message})
    );
}

/// An event in `ha.stdout.log`, which may be on a full volume.
pub(crate) fn event(status: &Value) {
    let _ = writeln!(std::io::stdout(), "{}", json!({"status": status}));
}
