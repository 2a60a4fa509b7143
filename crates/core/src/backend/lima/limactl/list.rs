//! The machines as Lima lists them: NDJSON of `limactl list --json`.
//!
//! Warnings may stand among the lines. For half a second of each start Lima calls a machine broken, for
//! its agent is there before its driver: what the directory says is asked then.

use std::collections::HashMap;

use serde::Deserialize;

use crate::backend::lima::limactl::{ASK_PATIENCE, Call, Limactl};
use crate::backend::lima::machine::directory::Directory;
use crate::error::Result;
use crate::model::{EnvStatus, InstanceName};

#[derive(Deserialize)]
struct Line {
    name: String,
    #[serde(default)]
    status: String,
}

/// What each machine does, by Lima's word.
///
/// # Errors
/// Those of [`Limactl::succeed`].
pub(crate) async fn ask(limactl: &Limactl) -> Result<HashMap<InstanceName, String>> {
    let call = Call::new(&["list", "--json"], ASK_PATIENCE);
    let answer = limactl.succeed(&call).await?;
    Ok(parse(&answer.stdout))
}

fn parse(text: &[u8]) -> HashMap<InstanceName, String> {
    let lines = text.split(|byte| *byte == b'\n');
    let parsed = lines.filter_map(|line| {
        let Line { name, status } = serde_json::from_slice(line).ok()?;
        Some((InstanceName::parse(&name).ok()?, status))
    });
    parsed.collect()
}

/// Lima's word, where it isn't one that passes.
pub(crate) fn status(said: Option<&String>, machine: &Directory) -> EnvStatus {
    match said.map(String::as_str) {
        Some("Running") => EnvStatus::Running,
        Some("Stopped") => EnvStatus::Stopped,
        // Settings that can't be read.
        Some("") => EnvStatus::Error,
        _ => machine.status(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_among_the_lines_are_passed_over() {
        let text = b"{\"name\":\"dev\",\"status\":\"Running\",\"cpus\":4}\n\
                     time=\"x\" level=warning msg=\"something\"\n{broken\n\
                     {\"name\":\"bad yaml\",\"status\":\"\"}\n{\"name\":\"odd\"}\n";
        let parsed = parse(text);
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[&"dev".parse::<InstanceName>().unwrap()], "Running");
        assert_eq!(parsed[&"odd".parse::<InstanceName>().unwrap()], "");
    }
}
