//! The template's provision scripts: each records its exit code, because Lima ignores failures.
//!
//! A wrapper ([`WRAPPER`]) is put in front of the script in the same file; the script itself, in whatever language,
//! stays unchanged. Lima's other modes (`boot`, `dependency`, files) run too early or are no scripts.

use serde_yaml::Value;

use crate::error::{Error, ErrorKind, Result};

/// Runs the script below it and records its exit code.
const WRAPPER: &str = include_str!("note.sh");
/// Creates the directory for exit codes, before all other scripts.
const PREPARE: &str = include_str!("prepare.sh");
/// Lines by which scripts are recognized that any version has written.
const WRAPPER_END: &str = "\n# ---- the script ----\n";
const PREPARE_LINE: &str = "\nmkdir -m 1777 /run/lxc-dev-manager-provision\n";
/// The modes that are wrapped: run in this order, after Lima's own scripts.
const WRAPPED_MODES: [&str; 2] = ["system", "user"];
/// Modes that run no script of the template.
const SAFE_MODES: [&str; 2] = ["data", "yq"];

/// Wraps the scripts in `yaml` so that they record their exit codes.
///
/// # Errors
/// `Config` for invalid settings.
pub(crate) fn wrap(yaml: &str) -> Result<String> {
    let mut all = read(yaml)?;
    let Some(list) = all.get_mut("provision").and_then(Value::as_sequence_mut) else {
        return Ok(yaml.to_owned());
    };
    let mut has_wrapped = false;
    for (number, entry) in list.iter_mut().enumerate() {
        if !WRAPPED_MODES.contains(&mode(entry)) {
            continue;
        }
        let Some(script) = entry.get_mut("script") else {
            continue;
        };
        // Lima rejects scripts without it, with a better message.
        if let Some(text) = script.as_str().filter(|text| text.starts_with("#!")) {
            *script = format!("#!/bin/sh\nnumber={number}\n{WRAPPER}{text}").into();
            has_wrapped = true;
        }
    }
    if has_wrapped {
        let prepare = [("mode", "system"), ("script", PREPARE)];
        let prepare = prepare.map(|(key, value)| (Value::from(key), Value::from(value)));
        list.insert(0, Value::Mapping(prepare.into_iter().collect()));
    }
    serde_yaml::to_string(&all).map_err(unreadable)
}

/// Whether every script of a machine records its exit code.
pub(crate) fn all_wrapped(yaml: &str) -> bool {
    let all = read(yaml).unwrap_or_default();
    let list = all.get("provision").and_then(Value::as_sequence);
    list.into_iter().flatten().all(|entry| {
        let script = entry
            .get("script")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let is_ours = script.contains(PREPARE_LINE) || script.contains(WRAPPER_END);
        SAFE_MODES.contains(&mode(entry)) || is_ours
    })
}

/// Whether a machine has scripts that may fail.
pub(crate) fn can_fail(yaml: &str) -> bool {
    // Unknown for invalid settings.
    let Ok(all) = read(yaml) else {
        return true;
    };
    let list = all.get("provision").and_then(Value::as_sequence);
    let mut list = list.into_iter().flatten();
    list.any(|entry| !SAFE_MODES.contains(&mode(entry)))
}

/// The mode of a script; `system` by default.
fn mode(entry: &Value) -> &str {
    let mode = entry.get("mode").and_then(Value::as_str);
    mode.unwrap_or(WRAPPED_MODES[0])
}

fn read(yaml: &str) -> Result<Value> {
    serde_yaml::from_str(yaml).map_err(unreadable)
}

fn unreadable(error: serde_yaml::Error) -> Error {
    Error::new(ErrorKind::Config, "cannot read the settings of the machine").caused_by(error)
}

/// Error for a failed script, from the output of `provisioned.sh`.
pub(crate) fn failure(machine: &str, output: &str) -> Error {
    let (head, log) = output.split_once('\n').unwrap_or((output, ""));
    let parsed = head.split_once(' ').and_then(|(number, code)| {
        let number: usize = number.parse().ok()?;
        Some((number + 1, code))
    });
    let message = match parsed {
        Some((number, code)) => format!(
            "`provision:` script {number} of the template failed in `{machine}`: exit code {code}"
        ),
        None => format!("a `provision:` script of the template failed in `{machine}`"),
    };
    let log = match log.trim_end() {
        "" => "(nothing)",
        log => log,
    };
    Error::new(ErrorKind::Guest, message).with_hint(format!("end of its log:\n{log}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "cpus: 1\nprovision:\n- script: \"#!/bin/bash\\necho 'a' $b\\n\"\n\
        - {mode: data, path: /x, content: y}\n- {mode: user, script: \"#!/usr/bin/python3\\npass\"}\n";

    #[test]
    fn recognizes_scripts_that_can_fail() {
        assert!(can_fail(YAML));
        assert!(!can_fail("cpus: 1\n"));
        assert!(!can_fail(
            "provision:\n- {mode: data, path: /x, content: y}\n"
        ));
        assert!(can_fail("provision:\n- {mode: boot, script: x}\n"));
        assert!(can_fail("provision: [\n"));
    }

    #[test]
    fn wrapper_leaves_scripts_unchanged() {
        let yaml = wrap(YAML).unwrap();
        let all = read(&yaml).unwrap();
        let list = all.get("provision").unwrap().as_sequence().unwrap();
        assert_eq!(list.len(), 4);
        let script = |at: usize| list[at].get("script").unwrap().as_str().unwrap();
        assert_eq!(script(0), PREPARE);
        for (at, number, text) in [
            (1, 0, "#!/bin/bash\necho 'a' $b\n"),
            (3, 2, "#!/usr/bin/python3\npass"),
        ] {
            assert!(script(at).starts_with(&format!("#!/bin/sh\nnumber={number}\n")));
            let (_, below) = script(at).split_once("# ---- the script ----\n").unwrap();
            assert_eq!(below, text);
        }
        assert!(all_wrapped(&yaml));
        assert!(!all_wrapped(YAML));
    }

    #[test]
    fn recognizes_wrappers_of_other_versions() {
        let yaml = wrap(YAML).unwrap();
        let other = yaml.replace("records its exit code", "notes its exit code");
        assert_ne!(other, yaml);
        assert!(all_wrapped(&other));
    }

    #[test]
    fn leaves_settings_without_scripts_unchanged() {
        let yaml = "cpus: 1 # few\n";
        assert_eq!(wrap(yaml).unwrap(), yaml);
        assert!(all_wrapped(yaml));
        // Boot scripts can't be wrapped.
        let boot = "provision: [{mode: boot, script: \"#!/bin/sh\\n\"}]\n";
        assert!(!all_wrapped(&wrap(boot).unwrap()));
        assert!(!wrap(boot).unwrap().contains(PREPARE));
    }

    #[test]
    fn failure_names_script_and_shows_log() {
        let report = failure("web-dev", "2 7\none\ntwo\n\n").report();
        assert!(
            report.message.starts_with("`provision:` script 3 of"),
            "{report:?}"
        );
        assert!(report.message.ends_with("exit code 7"), "{report:?}");
        assert_eq!(report.hint.as_deref(), Some("end of its log:\none\ntwo"));
        assert!(
            failure("x", "- -\n")
                .report()
                .hint
                .unwrap()
                .ends_with("(nothing)")
        );
    }
}
