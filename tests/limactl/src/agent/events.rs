//! The lines of `ha.stdout.log`. What a line says of ports or of progress stays in the following ones until a line says
//! something else of the whole.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::log;

#[derive(Debug, Default)]
pub(crate) struct Events {
    current: Mutex<Value>,
}

impl Events {
    /// A new state of the whole.
    pub(crate) fn emit(&self, status: Value) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = status;
        write(&current);
    }

    /// One thing more, beside what the last line said.
    pub(crate) fn add(&self, key: &str, value: Value) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !current.is_object() {
            *current = json!({});
        }
        current[key] = value;
        write(&current);
    }
}

fn write(status: &Value) {
    let line = format!("{}\n", json!({"time": log::now(), "status": status}));
    let mut out = std::io::stdout().lock();
    // The log may be on a full disk; the guest runs on.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
