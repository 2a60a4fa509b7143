//! Whether a template can be used: the shape of the keys that Lima has (2.2, `limatype/lima_yaml.go`).

use std::fmt;

use serde_yaml::{Mapping, Value};

use super::seen::{mapping, size};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    List,
    Map,
    Switch,
    Text,
    /// Looked at by itself, or of more than one shape.
    Own,
}

/// The keys that Lima knows at the top.
const KEYS: [(&str, Shape); 42] = [
    ("additionalDisks", Shape::List),
    ("arch", Shape::Text),
    ("audio", Shape::Map),
    ("base", Shape::Own),
    ("caCerts", Shape::Map),
    ("containerd", Shape::Map),
    ("copyToHost", Shape::List),
    ("cpuType", Shape::Map),
    ("cpus", Shape::Own),
    ("disk", Shape::Own),
    ("dns", Shape::List),
    ("env", Shape::Map),
    ("firmware", Shape::Map),
    ("guestInstallPrefix", Shape::Text),
    ("hostResolver", Shape::Map),
    ("images", Shape::List),
    ("memory", Shape::Own),
    ("message", Shape::Text),
    ("minimumLimaVersion", Shape::Text),
    ("mountInotify", Shape::Switch),
    ("mountType", Shape::Text),
    ("mountTypesUnsupported", Shape::List),
    ("mounts", Shape::List),
    ("nestedVirtualization", Shape::Switch),
    ("networks", Shape::List),
    ("os", Shape::Text),
    ("osOpts", Shape::Map),
    ("param", Shape::Map),
    ("plain", Shape::Switch),
    ("portForwards", Shape::List),
    ("probes", Shape::List),
    ("propagateProxyEnv", Shape::Switch),
    ("provision", Shape::List),
    ("rosetta", Shape::Map),
    ("ssh", Shape::Map),
    ("timezone", Shape::Text),
    ("tpm", Shape::Switch),
    ("upgradePackages", Shape::Switch),
    ("user", Shape::Map),
    ("video", Shape::Map),
    ("vmOpts", Shape::Map),
    ("vmType", Shape::Text),
];
/// The architectures that Lima knows.
const ARCHES: [&str; 6] = ["x86_64", "aarch64", "armv7l", "ppc64le", "riscv64", "s390x"];
/// How many slips a key may have to be recognised.
const MAX_SLIPS: usize = 3;
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
    for (key, value) in all {
        let key = key.as_str().unwrap_or_default();
        match KEYS.iter().find(|(known, _)| *known == key) {
            None => told.say(key, Level::Warning, unknown(key)),
            Some((_, shape)) if !shape.fits(value) => {
                let message = format!("`{key}` has to be {}", shape.words());
                told.say(key, Level::Error, message);
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
                Self::Switch => value.is_bool(),
                Self::Text => value.is_string() || value.is_number(),
                Self::Own => true,
            }
    }

    fn words(self) -> &'static str {
        match self {
            Self::List => "a list",
            Self::Map => "a map of keys",
            Self::Switch => "`true` or `false`",
            Self::Text | Self::Own => "text",
        }
    }
}

fn sizes(all: &Mapping, told: &mut Told<'_>) {
    // What is null is as if it weren't there.
    let said = |key: &str| all.get(key).filter(|value| !value.is_null());
    let is_count = |count: &Value| count.as_u64().is_some_and(|count| count > 0);
    if said("cpus").is_some_and(|count| !is_count(count)) {
        told.say("cpus", Level::Error, "`cpus` has to be a number above 0");
    }
    let is_size = |value: &Value| match value {
        Value::String(text) => size(text).is_some(),
        other => is_count(other),
    };
    for key in ["memory", "disk"] {
        if said(key).is_some_and(|value| !is_size(value)) {
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
    for image in images.into_iter().flatten() {
        let arch = image.get("arch").and_then(Value::as_str);
        if let Some(arch) = arch.filter(|arch| !ARCHES.contains(arch)) {
            let message = format!("an image's `arch` can't be `{arch}`: {}", ARCHES.join(", "));
            told.say("images", Level::Error, message);
        }
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
    let distance = |known: &&str| strsim::osa_distance(known, key);
    let near = KEYS.iter().map(|(known, _)| *known).min_by_key(distance);
    match near.filter(|known| distance(known) <= MAX_SLIPS) {
        Some(near) => format!("Lima knows no key `{key}`: did you mean `{near}`?"),
        None => format!("Lima knows no key `{key}`"),
    }
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
        let text = "images: [{location: x, arch: amd64}]\ncpu: 2\ncpus: 0\nmemory: lots\nmounts: {}\n\
                    provision: [{mode: sytem, script: x}]\nplain: 3\nuser: me\n";
        let found: Vec<String> = check(text).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "line 2: Lima knows no key `cpu`: did you mean `cpus`?",
                "line 5: `mounts` has to be a list",
                "line 7: `plain` has to be `true` or `false`",
                "line 8: `user` has to be a map of keys",
                "line 3: `cpus` has to be a number above 0",
                "line 4: `memory` has to be a size: 4GiB",
                "line 1: an image's `arch` can't be `amd64`: x86_64, aarch64, armv7l, ppc64le, riscv64, s390x",
                "line 6: a script's `mode` can't be `sytem`: system, user, boot, dependency, ansible, data, yq",
            ]
        );
        let broken = check("a: 1\nb: [\n");
        assert!(broken[0].line.is_some(), "{broken:?}");
        assert_eq!(check("cpus: 1\n")[0].message, "it names no image");
    }
}
