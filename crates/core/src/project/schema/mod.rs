//! The content of `containers.yaml`.
//!
//! Text fields take the scalar's source text: `password: 1234` is the text `1234`. Unknown keys are
//! ignored. The format is the original's plus documented additions.

mod entry;
pub(super) mod json;
mod merged;
#[cfg(test)]
mod tests;

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::{Error, ErrorKind, Result};
use crate::model::{BackendChoice, EnvName, InstanceName, ProjectName, RemoteName};

pub use entry::{Entry, MountEntry, UserEntry};
pub use json::schema as json_schema;
pub(super) use merged::default_ports;

/// The Linux dev environments (envs) of one project.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(expecting = "a map with `project`, `defaults` and `containers`")]
#[schemars(title = "containers.yaml of LXC Dev Manager", extend("type" = ["object", "null"]))]
pub struct File {
    /// Prefix of the instances: `webapp-main`. Without it an instance has the name of its env.
    #[serde(default)]
    #[schemars(schema_with = "json::project")]
    pub project: Option<String>,
    /// `lxc` (LXD or Incus) or `lima`. `auto` is Lima on a Mac, and `lxc` elsewhere.
    #[serde(default)]
    #[schemars(schema_with = "json::backend", extend("default" = "auto"))]
    pub backend: Option<String>,
    /// The remote (`lxc remote list`, `incus remote list`) that has the envs.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[^-:/\s][^:/\s]{0,63}$"))]
    pub remote: Option<String>,
    /// Values of every env that has none of its own.
    #[serde(default, deserialize_with = "null_is_default")]
    #[schemars(with = "Option<Entry>")]
    pub defaults: Entry,
    /// The envs by name: a letter, then letters, digits and single hyphens. The order is kept.
    #[serde(default, deserialize_with = "unique_envs")]
    #[schemars(schema_with = "json::containers")]
    pub containers: IndexMap<String, Entry>,
}

/// Reads the envs and rejects duplicate keys.
fn unique_envs<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<IndexMap<String, Entry>, D::Error> {
    deserializer.deserialize_any(UniqueEnvs)
}

struct UniqueEnvs;

impl<'de> Visitor<'de> for UniqueEnvs {
    type Value = IndexMap<String, Entry>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of envs")
    }

    fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
        Ok(IndexMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut envs = IndexMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if envs.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate env `{name}`")));
            }
            let entry: Option<Entry> = map.next_value()?;
            envs.insert(name, entry.unwrap_or_default());
        }
        Ok(envs)
    }
}

const INVALID_FILE_HINT: &str = "correct containers.yaml; nothing was changed";

/// The 1-based line of the `nth` occurrence of a key at any depth.
fn line_of(text: &str, key: &str, nth: usize) -> Option<usize> {
    let is_key = |line: &str| {
        let key_start = line.trim_start().trim_start_matches(['"', '\'']);
        let rest = key_start.strip_prefix(key);
        rest.is_some_and(|rest| rest.starts_with([':', ' ', '"', '\'']))
    };
    let lines = text.lines().enumerate().filter(|(_, line)| is_key(line));
    lines.map(|(number, _)| number + 1).nth(nth)
}

/// Adds a line to a parser message without one: a duplicate key of the outermost map, or the whole
/// file.
fn with_line(text: &str, message: String) -> String {
    if message.contains(" line ") {
        return message;
    }
    let key = message
        .split_once("duplicate field `")
        .and_then(|(_, rest)| rest.split_once('`'))
        .map(|(key, _)| key);
    let line = key.and_then(|key| line_of(text, key, 1)).unwrap_or(1);
    format!("line {line}: {message}")
}

/// Limit of open brackets: the parser's time grows with their square.
const MAX_DEPTH: usize = 1000;

fn ensure_shallow(text: &str) -> Result<()> {
    let mut depth: usize = 0;
    // The indentation of a key whose value is a block of text: brackets in a script don't nest.
    let mut block: Option<usize> = None;
    let mut may_be_quoted = false;
    for (number, line) in text.lines().enumerate() {
        let content = line.trim_start_matches(' ');
        let indent = line.len() - content.len();
        if content.trim().is_empty() || block.is_some_and(|block| indent > block) {
            continue;
        }
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth > MAX_DEPTH {
            let message = format!("line {}: more than {MAX_DEPTH} open brackets", number + 1);
            return Err(Error::new(ErrorKind::Config, message).with_hint(INVALID_FILE_HINT));
        }
        // A text in quotes, a comment or a flow value may look like the head of a block.
        let is_odd = |quote| !line.matches(quote).count().is_multiple_of(2);
        may_be_quoted |= is_odd('"') || is_odd('\'');
        let is_head = depth == 0 && !may_be_quoted && !line.contains('#') && is_block_head(content);
        block = is_head.then_some(indent);
    }
    Ok(())
}

/// Whether a line is a plain key with `|` or `>`, and perhaps `+`, `-` or a digit: a block of text follows.
fn is_block_head(content: &str) -> bool {
    let Some((key, head)) = content.split_once(": ") else {
        return false;
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let head = head.trim();
    !key.starts_with('-')
        && key.chars().all(is_word)
        && head.starts_with(['|', '>'])
        && head.len() <= 3
        && head[1..]
            .chars()
            .all(|c| c == '+' || c == '-' || c.is_ascii_digit())
}

fn null_is_default<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

impl File {
    /// Parses a file's text. An empty file is an empty project.
    ///
    /// # Errors
    /// `Config` with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let blank = text
            .lines()
            .all(|line| line.trim().is_empty() || line.starts_with('#'));
        if blank {
            return Ok(Self::default());
        }
        ensure_shallow(text)?;
        let file: Self = serde_yaml::from_str(text).map_err(|error| {
            Error::new(ErrorKind::Config, with_line(text, error.to_string()))
                .with_hint(INVALID_FILE_HINT)
        })?;
        file.check(text)?;
        Ok(file)
    }

    /// Rejects invalid names; `text` is for their lines.
    fn check(&self, text: &str) -> Result<()> {
        let refuse = |name: &str, error: &Error| {
            let line = line_of(text, name, 0);
            let line = line
                .map(|line| format!("line {line}: "))
                .unwrap_or_default();
            Error::new(error.kind(), format!("{line}{error}")).with_hint(INVALID_FILE_HINT)
        };
        self.project_name()
            .map_err(|error| refuse("project", &error))?;
        let mut folded: Vec<String> = Vec::new();
        for name in self.containers.keys() {
            EnvName::parse(name).map_err(|error| refuse(name, &error))?;
            let lower = name.to_lowercase();
            if folded.contains(&lower) {
                let message =
                    format!("duplicate env `{name}`: names must differ by more than case");
                return Err(refuse(name, &Error::new(ErrorKind::Config, message)));
            }
            folded.push(lower);
        }
        Ok(())
    }

    /// The project's name, if any.
    ///
    /// # Errors
    /// `InvalidName`.
    pub fn project_name(&self) -> Result<Option<ProjectName>> {
        self.project.as_deref().map(ProjectName::parse).transpose()
    }

    /// The requested backend.
    ///
    /// # Errors
    /// `Config` for an unknown value.
    pub fn backend(&self) -> Result<BackendChoice> {
        let backend = self.backend.as_deref();
        backend.map_or(Ok(BackendChoice::Auto), BackendChoice::parse)
    }

    /// The remote with the envs, if any.
    ///
    /// # Errors
    /// `InvalidName`.
    pub fn remote(&self) -> Result<Option<RemoteName>> {
        self.remote.as_deref().map(RemoteName::parse).transpose()
    }

    /// The envs' names, in the file's order.
    #[must_use]
    pub fn env_names(&self) -> Vec<EnvName> {
        // Valid since `check`.
        self.containers
            .keys()
            .filter_map(|name| EnvName::parse(name).ok())
            .collect()
    }

    /// The entry of an env.
    #[must_use]
    pub fn entry(&self, env: &EnvName) -> Option<&Entry> {
        self.containers.get(env.as_str())
    }

    /// The instance of an env.
    ///
    /// # Errors
    /// `InvalidName` with the part that the engine rejects.
    pub fn instance(&self, env: &EnvName) -> Result<InstanceName> {
        InstanceName::of(self.project_name()?.as_ref(), env)
    }
}
