//! Machine states from `limactl list --json` (NDJSON, possibly with warnings in between).
//!
//! For half a second of each start Lima reports a machine as broken, because its agent starts before its driver; then
//! the status comes from the directory.

use std::collections::HashMap;

use serde::Deserialize;

use super::super::machine::directory::Directory;
use super::{Call, Limactl, QUERY_TIMEOUT};
use crate::error::Result;
use crate::model::{EnvStatus, InstanceName};

#[derive(Deserialize)]
struct Line {
    name: String,
    #[serde(default)]
    status: String,
}

/// Returns Lima's status of each machine.
///
/// # Errors
/// As for [`Limactl::succeed`].
pub(crate) async fn statuses(limactl: &Limactl) -> Result<HashMap<InstanceName, String>> {
    let call = Call::new(&["list", "--json"], QUERY_TIMEOUT);
    let output = limactl.succeed(&call).await?;
    Ok(parse(&output.stdout))
}

fn parse(text: &[u8]) -> HashMap<InstanceName, String> {
    let lines = text.split(|byte| *byte == b'\n');
    let parsed = lines.filter_map(|line| {
        let Line { name, status } = serde_json::from_slice(line).ok()?;
        Some((InstanceName::parse(&name).ok()?, status))
    });
    parsed.collect()
}

/// Converts Lima's status, or reads the machine's directory if it is transient.
pub(crate) fn status(status: Option<&String>, machine: &Directory) -> EnvStatus {
    match status.map(String::as_str) {
        Some("Running") => EnvStatus::Running,
        Some("Stopped") => EnvStatus::Stopped,
        // Invalid settings.
        Some("") => EnvStatus::Error,
        _ => machine.status(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skips_warnings_between_lines() {
        let text = b"{\"name\":\"dev\",\"status\":\"Running\",\"cpus\":4}\n\
                     time=\"x\" level=warning msg=\"something\"\n{broken\n\
                     {\"name\":\"bad yaml\",\"status\":\"\"}\n{\"name\":\"odd\"}\n";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[&"dev".parse::<InstanceName>().unwrap()], "Running");
        assert_eq!(parsed[&"odd".parse::<InstanceName>().unwrap()], "");
    }
}
