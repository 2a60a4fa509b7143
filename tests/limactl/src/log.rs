//! Messages: text on stderr, and JSON lines of the host agent.

use std::io::Write;

use serde_json::{Value, json};

pub(crate) fn print(level: &str, message: &str) {
    let _ = writeln!(std::io::stderr(), "level={level} msg={message:?}");
}

/// Line in `ha.stderr.log`.
pub(crate) fn agent(level: &str, message: &str) {
    let _ = writeln!(
        std::io::stderr(),
        "{}",
        json!({"level": level, "msg": message})
    );
}

/// Line in `ha.stdout.log`. Errors are ignored, because its volume may be full.
pub(crate) fn event(status: &Value) {
    let _ = writeln!(std::io::stdout(), "{}", json!({"status": status}));
}
