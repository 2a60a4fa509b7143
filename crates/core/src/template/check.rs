//! Whether a template can be used: the shape of the keys that Lima has (2.2, `limatype/lima_yaml.go`).

use std::fmt;

use serde_yaml::{Mapping, Value};

use super::seen::mapping;

/// The keys that Lima knows at the top.
const KEYS: [&str; 42] = [
    "additionalDisks",
    "arch",
    "audio",
    "base",
    "caCerts",
    "containerd",
    "copyToHost",
    "cpuType",
    "cpus",
    "disk",
    "dns",
    "env",
    "firmware",
    "guestInstallPrefix",
    "hostResolver",
    "images",
    "memory",
    "message",
    "minimumLimaVersion",
    "mountInotify",
    "mountType",
    "mountTypesUnsupported",
    "mounts",
    "nestedVirtualization",
    "networks",
    "os",
    "osOpts",
    "param",
    "plain",
    "portForwards",
    "probes",
    "propagateProxyEnv",
    "provision",
    "rosetta",
    "ssh",
    "timezone",
    "tpm",
    "upgradePackages",
    "user",
    "video",
    "vmOpts",
    "vmType",
];
/// The ways in which a script of a template is run.
const MODES: [&str; 7] = [
    "system",
    "user",
    "boot",
    "dependency",
    "ansible",
    "data",
    "yq",
];

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It works, but perhaps not as meant.
    Warning,
    /// It can't be used.
    Error,
}

/// One thing that is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1, where that is known.
    pub line: Option<usize>,
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that is wrong with a template.
#[must_use]
pub fn check(text: &str) -> Vec<Problem> {
    let all = match mapping(text) {
        Ok(all) => all,
        Err(error) => {
            let line = serde_yaml::from_str::<Value>(text).err();
            let line = line.and_then(|error| Some(error.location()?.line()));
            return vec![Problem {
                line,
                level: Level::Error,
                message: error.report().message,
            }];
        }
    };
    let mut told = Told {
        text,
        found: Vec::new(),
    };
    keys(&all, &mut told);
    sizes(&all, &mut told);
    images(&all, &mut told);
    scripts(&all, &mut told);
    told.found
}

/// What was found until now.
struct Told<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl Told<'_> {
    fn say(&mut self, key: &str, level: Level, message: impl Into<String>) {
        self.found.push(Problem {
            line: line_of(self.text, key),
            level,
            message: message.into(),
        });
    }
}

fn keys(all: &Mapping, told: &mut Told<'_>) {
    for key in all.keys() {
        let key = key.as_str().unwrap_or_default();
        if !KEYS.contains(&key) {
            told.say(key, Level::Warning, unknown(key));
        }
    }
    for key in ["images", "mounts", "provision", "portForwards", "networks"] {
        let value = all.get(key);
        if value.is_some_and(|value| !value.is_sequence() && !value.is_null()) {
            told.say(key, Level::Error, format!("`{key}` has to be a list"));
        }
    }
}

fn sizes(all: &Mapping, told: &mut Told<'_>) {
    let is_count = |count: &Value| count.as_u64().is_some_and(|count| count > 0);
    if all.get("cpus").is_some_and(|count| !is_count(count)) {
        told.say("cpus", Level::Error, "`cpus` has to be a number above 0");
    }
    let is_size = |value: &Value| value.as_str().is_some_and(is_size) || value.is_u64();
    for key in ["memory", "disk"] {
        if all.get(key).is_some_and(|value| !is_size(value)) {
            told.say(key, Level::Error, format!("`{key}` has to be a size: 4GiB"));
        }
    }
}

fn images(all: &Mapping, told: &mut Told<'_>) {
    let images = all.get("images").and_then(Value::as_sequence);
    let located = |image: &Value| image.get("location").is_some_and(Value::is_string);
    match images {
        // They may come from there.
        _ if all.contains_key("base") => {}
        Some(images) if !images.is_empty() && images.iter().all(located) => {}
        Some(images) if !images.is_empty() => {
            told.say(
                "images",
                Level::Error,
                "each image has to have a `location`",
            );
        }
        _ => told.say("images", Level::Error, "it names no image"),
    }
}

fn scripts(all: &Mapping, told: &mut Told<'_>) {
    let scripts = all.get("provision").and_then(Value::as_sequence);
    for script in scripts.into_iter().flatten() {
        let mode = script.get("mode").and_then(Value::as_str);
        let mode = mode.unwrap_or("system");
        if !MODES.contains(&mode) {
            let message = format!("a script's `mode` can't be `{mode}`: {}", MODES.join(", "));
            told.say("provision", Level::Error, message);
        }
    }
}

fn unknown(key: &str) -> String {
    let near = KEYS
        .iter()
        .min_by_key(|known| strsim::osa_distance(known, key));
    match near.filter(|known| strsim::osa_distance(known, key) <= 3) {
        Some(near) => format!("Lima knows no key `{key}`: did you mean `{near}`?"),
        None => format!("Lima knows no key `{key}`"),
    }
}

fn is_size(text: &str) -> bool {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim().to_ascii_lowercase();
    number.parse::<f64>().is_ok_and(|number| number > 0.0)
        && [
            "", "b", "k", "kb", "kib", "m", "mb", "mib", "g", "gb", "gib", "t", "tb", "tib",
        ]
        .contains(&unit.as_str())
}

/// The line in which a key of the top begins.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let quotes = ['"', '\''];
    let is_it = |line: &str| {
        let rest = line.trim_start_matches(quotes).strip_prefix(key);
        rest.is_some_and(|rest| {
            rest.trim_start_matches(quotes)
                .trim_start()
                .starts_with(':')
        })
    };
    text.lines().position(is_it).map(|at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_with_their_lines() {
        let text = "images: [{location: x}]\ncpu: 2\ncpus: 0\nmemory: lots\nmounts: {}\n\
                    provision: [{mode: sytem, script: x}]\n";
        let found: Vec<String> = check(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "line 2: Lima knows no key `cpu`: did you mean `cpus`?",
                "line 5: `mounts` has to be a list",
                "line 3: `cpus` has to be a number above 0",
                "line 4: `memory` has to be a size: 4GiB",
                "line 6: a script's `mode` can't be `sytem`: system, user, boot, dependency, ansible, data, yq",
            ]
        );
        let broken = check("a: 1\nb: [\n");
        assert!(broken[0].line.is_some(), "{broken:?}");
        assert_eq!(check("cpus: 1\n")[0].message, "it names no image");
    }
}
