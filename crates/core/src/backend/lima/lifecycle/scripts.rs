//! The template's scripts: each notes its exit code, for Lima itself starts a machine whose scripts have failed.
//!
//! A script is put below one of ours in the same file, which runs it and writes the note ([`NOTE`]). Whatever
//! it is written in, it stays as it is. Lima's other kinds (`boot`, `dependency`, files) run before there is a
//! place for notes, or aren't scripts.

use serde_yaml::Value;

use crate::error::{Error, ErrorKind, Result};

/// What runs a script that stands below it.
const NOTE: &str = include_str!("note.sh");
/// Makes the place for notes, before all others.
const PREPARE: &str = include_str!("prepare.sh");
/// The kinds that note: run in this order, after Lima's own.
const NOTING: [&str; 2] = ["system", "user"];
/// Those that run no script of the template's.
const HARMLESS: [&str; 2] = ["data", "yq"];

/// Settings whose scripts note how they end.
///
/// # Errors
/// `Config` for settings that can't be read.
pub(crate) fn noting(yaml: &str) -> Result<String> {
    let mut all = read(yaml)?;
    let Some(list) = all.get_mut("provision").and_then(Value::as_sequence_mut) else {
        return Ok(yaml.to_owned());
    };
    let mut notes = false;
    for (number, entry) in list.iter_mut().enumerate() {
        if !NOTING.contains(&mode(entry)) {
            continue;
        }
        let Some(script) = entry.get_mut("script") else {
            continue;
        };
        // Lima refuses one without, and should say so.
        if let Some(text) = script.as_str().filter(|text| text.starts_with("#!")) {
            *script = format!("#!/bin/sh\nnumber={number}\n{NOTE}{text}").into();
            notes = true;
        }
    }
    if notes {
        let prepare = [("mode", "system"), ("script", PREPARE)];
        let prepare = prepare.map(|(key, value)| (Value::from(key), Value::from(value)));
        list.insert(0, Value::Mapping(prepare.into_iter().collect()));
    }
    serde_yaml::to_string(&all).map_err(unreadable)
}

/// Whether every script of a machine notes how it ends.
pub(crate) fn all_note(yaml: &str) -> bool {
    let all = read(yaml).unwrap_or_default();
    let list = all.get("provision").and_then(Value::as_sequence);
    list.into_iter().flatten().all(|entry| {
        let script = entry
            .get("script")
            .and_then(Value::as_str)
            .unwrap_or_default();
        HARMLESS.contains(&mode(entry)) || script == PREPARE || script.contains(NOTE)
    })
}

/// Whether a machine has scripts that may fail.
pub(crate) fn are_any(yaml: &str) -> bool {
    // Of settings that can't be read nobody knows.
    let Ok(all) = read(yaml) else {
        return true;
    };
    let list = all.get("provision").and_then(Value::as_sequence);
    let mut list = list.into_iter().flatten();
    list.any(|entry| !HARMLESS.contains(&mode(entry)))
}

/// What kind a script is; without a word it is the system's.
fn mode(entry: &Value) -> &str {
    let said = entry.get("mode").and_then(Value::as_str);
    said.unwrap_or(NOTING[0])
}

fn read(yaml: &str) -> Result<Value> {
    serde_yaml::from_str(yaml).map_err(unreadable)
}

fn unreadable(error: serde_yaml::Error) -> Error {
    Error::new(
        ErrorKind::Config,
        "the settings of the machine can't be read",
    )
    .caused_by(error)
}

/// What to say of a script that has failed, by what the guest tells of it.
pub(crate) fn failure(machine: &str, told: &str) -> Error {
    let (which, log) = told.split_once('\n').unwrap_or((told, ""));
    let noted = which.split_once(' ').and_then(|(number, code)| {
        let number: usize = number.parse().ok()?;
        Some((number + 1, code))
    });
    let message = match noted {
        Some((number, code)) => format!(
            "script {number} of the template's `provision:` failed in `{machine}` with exit code {code}"
        ),
        None => format!("a script of the template's `provision:` failed in `{machine}`"),
    };
    let log = match log.trim_end() {
        "" => "(nothing)",
        log => log,
    };
    Error::new(ErrorKind::Guest, message).with_hint(format!("its log ends with:\n{log}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "cpus: 1\nprovision:\n- script: \"#!/bin/bash\\necho 'a' $b\\n\"\n\
        - {mode: data, path: /x, content: y}\n- {mode: user, script: \"#!/usr/bin/python3\\npass\"}\n";

    #[test]
    fn what_can_fail_is_told_from_what_can_not() {
        assert!(are_any(YAML));
        assert!(!are_any("cpus: 1\n"));
        assert!(!are_any(
            "provision:\n- {mode: data, path: /x, content: y}\n"
        ));
        assert!(are_any("provision:\n- {mode: boot, script: x}\n"));
        assert!(are_any("provision: [\n"));
    }

    #[test]
    fn a_script_stays_as_it_is_below_what_notes_its_end() {
        let yaml = noting(YAML).unwrap();
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
        assert!(all_note(&yaml));
        assert!(!all_note(YAML));
    }

    #[test]
    fn settings_without_scripts_stay_as_they_are() {
        let yaml = "cpus: 1 # few\n";
        assert_eq!(noting(yaml).unwrap(), yaml);
        assert!(all_note(yaml));
        // Those that can't note are no reason to be silent.
        let boot = "provision: [{mode: boot, script: \"#!/bin/sh\\n\"}]\n";
        assert!(!all_note(&noting(boot).unwrap()));
        assert!(!noting(boot).unwrap().contains(PREPARE));
    }

    #[test]
    fn a_failure_names_the_script_and_shows_its_log() {
        let report = failure("web-dev", "2 7\none\ntwo\n\n").report();
        assert!(report.message.starts_with("script 3 of"), "{report:?}");
        assert!(report.message.ends_with("exit code 7"), "{report:?}");
        assert_eq!(report.hint.as_deref(), Some("its log ends with:\none\ntwo"));
        assert!(
            failure("x", "- -\n")
                .report()
                .hint
                .unwrap()
                .ends_with("(nothing)")
        );
    }
}
