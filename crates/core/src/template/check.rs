//! Validates the types of the keys in a template (Lima 2.2, `limatype/lima_yaml.go`).

use std::fmt;

use serde_yaml::{Mapping, Value};

use super::settings::{mapping, size};

/// Type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    Map,
    Bool,
    Text,
    /// Checked separately, or of several types.
    Custom,
}

/// Lima's top-level keys.
const KEYS: [(&str, Shape); 42] = [
    ("additionalDisks", Shape::List),
    ("arch", Shape::Text),
    ("audio", Shape::Map),
    ("base", Shape::Custom),
    ("caCerts", Shape::Map),
    ("containerd", Shape::Map),
    ("copyToHost", Shape::List),
    ("cpuType", Shape::Map),
    ("cpus", Shape::Custom),
    ("disk", Shape::Custom),
    ("dns", Shape::List),
    ("env", Shape::Map),
    ("firmware", Shape::Map),
    ("guestInstallPrefix", Shape::Text),
    ("hostResolver", Shape::Map),
    ("images", Shape::List),
    ("memory", Shape::Custom),
    ("message", Shape::Text),
    ("minimumLimaVersion", Shape::Text),
    ("mountInotify", Shape::Bool),
    ("mountType", Shape::Text),
    ("mountTypesUnsupported", Shape::List),
    ("mounts", Shape::List),
    ("nestedVirtualization", Shape::Bool),
    ("networks", Shape::List),
    ("os", Shape::Text),
    ("osOpts", Shape::Map),
    ("param", Shape::Map),
    ("plain", Shape::Bool),
    ("portForwards", Shape::List),
    ("probes", Shape::List),
    ("propagateProxyEnv", Shape::Bool),
    ("provision", Shape::List),
    ("rosetta", Shape::Map),
    ("ssh", Shape::Map),
    ("timezone", Shape::Text),
    ("tpm", Shape::Bool),
    ("upgradePackages", Shape::Bool),
    ("user", Shape::Map),
    ("video", Shape::Map),
    ("vmOpts", Shape::Map),
    ("vmType", Shape::Text),
];
/// Lima's architectures.
const ARCHES: [&str; 6] = ["x86_64", "aarch64", "armv7l", "ppc64le", "riscv64", "s390x"];
const MAX_EDIT_DISTANCE: usize = 3;
/// Lima's modes of provision scripts.
const MODES: [&str; 7] = [
    "system",
    "user",
    "boot",
    "dependency",
    "ansible",
    "data",
    "yq",
];

/// Severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Usable, but possibly not as intended.
    Warning,
    /// Unusable.
    Error,
}

/// A problem of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1, if known.
    pub line: Option<usize>,
    /// Its severity.
    pub level: Level,
    /// Its description.
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

/// Returns all problems of a template.
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
    let mut problems = Problems {
        text,
        found: Vec::new(),
    };
    keys(&all, &mut problems);
    sizes(&all, &mut problems);
    images(&all, &mut problems);
    scripts(&all, &mut problems);
    problems.found
}

/// The problems found so far.
struct Problems<'a> {
    text: &'a str,
    found: Vec<Problem>,
}

impl Problems<'_> {
    fn add(&mut self, key: &str, level: Level, message: impl Into<String>) {
        self.found.push(Problem {
            line: line_of(self.text, key),
            level,
            message: message.into(),
        });
    }
}

fn keys(all: &Mapping, problems: &mut Problems<'_>) {
    for (key, value) in all {
        let key = key.as_str().unwrap_or_default();
        match KEYS.iter().find(|(known, _)| *known == key) {
            None => problems.add(key, Level::Warning, unknown(key)),
            Some((_, shape)) if !shape.fits(value) => {
                let message = format!("invalid `{key}`: expected {}", shape.description());
                problems.add(key, Level::Error, message);
            }
            Some(_) => {}
        }
    }
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        value.is_null()
            || match self {
                Self::List => value.is_sequence(),
                Self::Map => value.is_mapping(),
                Self::Bool => value.is_bool(),
                Self::Text => value.is_string() || value.is_number(),
                Self::Custom => true,
            }
    }

    fn description(self) -> &'static str {
        match self {
            Self::List => "a list",
            Self::Map => "a mapping",
            Self::Bool => "`true` or `false`",
            Self::Text | Self::Custom => "text",
        }
    }
}

fn sizes(all: &Mapping, problems: &mut Problems<'_>) {
    // Null is the same as a missing key.
    let value = |key: &str| all.get(key).filter(|value| !value.is_null());
    let is_count = |count: &Value| count.as_u64().is_some_and(|count| count > 0);
    if value("cpus").is_some_and(|count| !is_count(count)) {
        problems.add(
            "cpus",
            Level::Error,
            "invalid `cpus`: expected a positive number",
        );
    }
    let is_size = |value: &Value| match value {
        Value::String(text) => size(text).is_some(),
        other => is_count(other),
    };
    for key in ["memory", "disk"] {
        if value(key).is_some_and(|value| !is_size(value)) {
            problems.add(
                key,
                Level::Error,
                format!("invalid `{key}`: expected a size such as 4GiB"),
            );
        }
    }
}

fn images(all: &Mapping, problems: &mut Problems<'_>) {
    let images = all.get("images").and_then(Value::as_sequence);
    let located = |image: &Value| image.get("location").is_some_and(Value::is_string);
    match images {
        // The base may have images.
        _ if all.contains_key("base") => {}
        Some(images) if !images.is_empty() && images.iter().all(located) => {}
        Some(images) if !images.is_empty() => {
            problems.add(
                "images",
                Level::Error,
                "invalid `images`: each image needs a `location`",
            );
        }
        _ => problems.add("images", Level::Error, "no image is set in `images`"),
    }
    for image in images.into_iter().flatten() {
        let arch = image.get("arch").and_then(Value::as_str);
        if let Some(arch) = arch.filter(|arch| !ARCHES.contains(arch)) {
            let message = format!(
                "invalid image `arch` `{arch}`: expected {}",
                ARCHES.join(", ")
            );
            problems.add("images", Level::Error, message);
        }
    }
}

fn scripts(all: &Mapping, problems: &mut Problems<'_>) {
    let scripts = all.get("provision").and_then(Value::as_sequence);
    for script in scripts.into_iter().flatten() {
        let mode = script.get("mode").and_then(Value::as_str);
        let mode = mode.unwrap_or("system");
        if !MODES.contains(&mode) {
            let message = format!(
                "invalid script `mode` `{mode}`: expected {}",
                MODES.join(", ")
            );
            problems.add("provision", Level::Error, message);
        }
    }
}

fn unknown(key: &str) -> String {
    let distance = |known: &&str| strsim::osa_distance(known, key);
    let near = KEYS.iter().map(|(known, _)| *known).min_by_key(distance);
    match near.filter(|known| distance(known) <= MAX_EDIT_DISTANCE) {
        Some(near) => format!("unknown key `{key}`: did you mean `{near}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// Line of a top-level key.
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
    fn reports_problems_with_lines() {
        let text = "images: [{location: x, arch: amd64}]\ncpu: 2\ncpus: 0\nmemory: lots\nmounts: {}\n\
                    provision: [{mode: sytem, script: x}]\nplain: 3\nuser: me\n";
        let found: Vec<String> = check(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "line 2: unknown key `cpu`: did you mean `cpus`?",
                "line 5: invalid `mounts`: expected a list",
                "line 7: invalid `plain`: expected `true` or `false`",
                "line 8: invalid `user`: expected a mapping",
                "line 3: invalid `cpus`: expected a positive number",
                "line 4: invalid `memory`: expected a size such as 4GiB",
                "line 1: invalid image `arch` `amd64`: expected x86_64, aarch64, armv7l, ppc64le, riscv64, s390x",
                "line 6: invalid script `mode` `sytem`: expected system, user, boot, dependency, ansible, data, yq",
            ]
        );
        let broken = check("a: 1\nb: [\n");
        assert!(broken[0].line.is_some(), "{broken:?}");
        assert_eq!(check("cpus: 1\n")[0].message, "no image is set in `images`");
    }
}
