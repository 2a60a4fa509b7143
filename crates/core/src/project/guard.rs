//! Checks of an edit of `containers.yaml` before it is written.
//!
//! The new text must parse to the old content plus the change, and all other lines must be
//! unchanged byte for byte. Otherwise the edit is refused, with a hint what to write by hand.

use serde_yaml::Value;

use super::change::{CONTAINERS, Change, NewEnv};
use super::schema::{Entry, File};
use crate::error::{Error, ErrorKind};
use crate::model::EnvName;

/// What an edited text must contain.
pub(super) struct Guard<'a> {
    /// The file before the change.
    pub file: &'a File,
    pub change: &'a Change,
    /// The content after the change.
    pub wanted: &'a Value,
}

impl Guard<'_> {
    /// Whether an edited text has the wanted content.
    pub(super) fn allows(&self, after: &str) -> bool {
        let parsed = serde_yaml::from_str(after);
        parsed.is_ok_and(|parsed| is_same(&parsed, self.wanted))
            && File::parse(after).is_ok_and(|after| self.has_same_entry(&after))
    }

    /// Whether a copied or renamed env parses to the same entry. Compared as text: plain YAML
    /// values do not distinguish `0123` from `123`.
    fn has_same_entry(&self, after: &File) -> bool {
        match self.change {
            Change::RestoreEnv { env, before } => {
                File::parse(before).is_ok_and(|before| before.entry(env) == after.entry(env))
            }
            Change::CloneEnv { source, env } => {
                let source = self.file.entry(source).map(|source| Entry {
                    snapshots: indexmap::IndexMap::new(),
                    ..source.clone()
                });
                source.as_ref() == after.entry(env)
            }
            Change::RenameEnv { env, new } => {
                let (old, after) = (&self.file.containers, &after.containers);
                let (env, new) = (env.as_str(), new.as_str());
                // The order is kept, too.
                (old.get_index_of(env), old.get(env)) == (after.get_index_of(new), after.get(new))
            }
            _ => true,
        }
    }
}

/// The values of an env in a text.
pub(super) fn entry_of(text: &str, env: &EnvName) -> Option<Value> {
    let root: Value = serde_yaml::from_str(text).ok()?;
    root.get(CONTAINERS)?.get(env.as_str()).cloned()
}

/// Whether two values are the same. An emptied map may be written as nothing.
pub(super) fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Mapping(left), Value::Mapping(right)) => {
            let is_known = |(key, value)| left.get(key).is_some_and(|known| is_same(known, value));
            left.len() == right.len() && right.iter().all(is_known)
        }
        (Value::Mapping(map), Value::Null) | (Value::Null, Value::Mapping(map)) => map.is_empty(),
        _ => left == right,
    }
}

/// Whether only one place differs, and it only grew, only shrank, is one line, or is a list
/// without comments.
pub(super) fn preserves_lines(before: &str, after: &str) -> bool {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let is_list = || {
        let is_item = |line: &&str| line.trim_start().starts_with('-');
        old.first().is_some_and(is_item) && !old.iter().any(|line| line.contains('#'))
    };
    old.len() <= 1 || is_subsequence(new, old) || is_list()
}

/// Whether `part` are lines of `whole` in order; a removal keeps comments in between.
fn is_subsequence(part: &[&str], whole: &[&str]) -> bool {
    let mut rest = whole.iter();
    part.iter()
        .all(|line| rest.any(|candidate| candidate == line))
}

/// The error for an edit with loss, with a hint what to write by hand.
pub(super) fn refuse(text: &str, change: &Change) -> Error {
    let reason = text.lines().enumerate().find_map(|(number, line)| {
        let code = line.split(" #").next().unwrap_or(line).trim();
        let shared = code.contains("<<:") || code.contains(": *");
        let several = number > 0 && code == "---";
        (shared || several).then(|| {
            let cause = if several {
                "a second document"
            } else {
                "an alias or a merge key"
            };
            format!("line {} has {cause}", number + 1)
        })
    });
    let reason = reason.unwrap_or_else(|| "unsupported format".to_owned());
    Error::new(
        ErrorKind::Config,
        format!("cannot change containers.yaml without loss: {reason}"),
    )
    .with_hint(format!("change it by hand: {}", by_hand(change)))
}

fn by_hand(change: &Change) -> String {
    match change {
        Change::AddEnv(NewEnv { env, image, .. }) => {
            format!("add `{env}: {{image: {image}}}` to `containers:`")
        }
        Change::CloneEnv { source, env } => format!(
            "add `{env}:` to `containers:` with the values of `{source}`, without `snapshots`"
        ),
        Change::RenameEnv { env, new } => {
            format!("rename `{env}:` to `{new}:` in `containers:`")
        }
        Change::RestoreEnv { env, before } => {
            let entry = entry_of(before, env).and_then(|entry| serde_yaml::to_string(&entry).ok());
            let text = entry.unwrap_or_default();
            format!("add `{env}:` to `containers:` with\n{text}")
        }
        Change::RemoveEnv { env } => format!("delete `{env}` from `containers:`"),
        Change::AddSnapshot { env, snapshot, .. } => {
            format!("add `{snapshot}: {{}}` to `snapshots:` of `{env}`")
        }
        Change::RemoveSnapshot { env, snapshot } => {
            format!("delete `{snapshot}` from `snapshots:` of `{env}`")
        }
    }
}
