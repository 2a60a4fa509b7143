//! Checks of an edit of `containers.yaml` before it is written.
//!
//! The new text must parse to the old content plus the change, and all other lines must be
//! unchanged byte for byte. Otherwise the edit is refused, with a hint what to write by hand.

use serde_yaml::Value;

use super::change::{CONTAINERS, Change, NewEnv, SNAPSHOTS};
use super::schema::{Entry, File};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;

/// The expected content: the change applied to the parsed values.
fn expected(before: &str, change: &Change) -> Option<Value> {
    let mut root: Value = serde_yaml::from_str(before).ok()?;
    if root.is_null() {
        root = Value::Mapping(serde_yaml::Mapping::new());
    }
    let containers = child(&mut root, CONTAINERS)?;
    match change {
        Change::AddEnv(new) => add_env(containers, &File::parse(before).ok()?, new)?,
        Change::CloneEnv { source, env } => {
            let containers = containers.as_mapping_mut()?;
            let entry = without_snapshots(containers.get(source.as_str())?.clone());
            let known = containers.insert(env.as_str().into(), entry);
            if known.is_some() {
                return None;
            }
        }
        Change::RenameEnv { env, new } => rename(containers.as_mapping_mut()?, env, new)?,
        Change::RestoreEnv { env, before } => {
            let old: Value = serde_yaml::from_str(before).ok()?;
            let entry = old.get(CONTAINERS)?.get(env.as_str())?.clone();
            let known = containers
                .as_mapping_mut()?
                .insert(env.as_str().into(), entry);
            if known.is_some() {
                return None;
            }
        }
        Change::RemoveEnv { env } => {
            containers.as_mapping_mut()?.remove(env.as_str())?;
        }
        Change::AddSnapshot {
            env,
            snapshot,
            description,
            created_at,
        } => {
            let snapshots = child(child(containers, env.as_str())?, SNAPSHOTS)?;
            let mut entry = serde_yaml::Mapping::new();
            if let Some(text) = description {
                entry.insert("description".into(), text.as_str().into());
            }
            entry.insert("created_at".into(), created_at.to_string().into());
            snapshots
                .as_mapping_mut()?
                .insert(snapshot.as_str().into(), entry.into());
        }
        Change::RemoveSnapshot { env, snapshot } => {
            let snapshots = child(child(containers, env.as_str())?, SNAPSHOTS)?;
            snapshots.as_mapping_mut()?.remove(snapshot.as_str())?;
        }
    }
    Some(root)
}

/// Adds an env, or sets values of an existing one.
fn add_env(containers: &mut Value, before: &File, new: &NewEnv) -> Option<()> {
    let is_map = containers
        .get(new.env.as_str())
        .is_some_and(Value::is_mapping);
    let known = before.image(&new.env).filter(|_| is_map);
    let entry = child(containers, new.env.as_str())?;
    if let Some(user) = &new.user {
        let user = Value::from(user.as_str());
        child(entry, "user")?
            .as_mapping_mut()?
            .insert("name".into(), user);
    }
    let entry = entry.as_mapping_mut()?;
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            entry.insert(key.into(), value);
        }
    };
    let image = (known.as_ref() != Some(&new.image)).then(|| new.image.as_str().into());
    set("image", image);
    let ports = new.ports.as_ref().map(|ports| {
        let ports: Vec<Value> = ports.iter().map(|port| port.get().into()).collect();
        ports.into()
    });
    set("ports", ports);
    set("cpus", new.limits.cpus.map(Value::from));
    set(
        "memory",
        new.limits.memory.map(|size| size.to_string().into()),
    );
    set("disk", new.limits.disk.map(|size| size.to_string().into()));
    Some(())
}

/// Renames an entry and keeps the order.
fn rename(containers: &mut serde_yaml::Mapping, env: &EnvName, new: &EnvName) -> Option<()> {
    if !containers.contains_key(env.as_str())
        || (env != new && containers.contains_key(new.as_str()))
    {
        return None;
    }
    let renamed = std::mem::take(containers).into_iter().map(|(key, value)| {
        if key.as_str() == Some(env.as_str()) {
            (new.as_str().into(), value)
        } else {
            (key, value)
        }
    });
    *containers = renamed.collect();
    Some(())
}

/// An entry without snapshots; an empty one becomes an empty map.
fn without_snapshots(mut entry: Value) -> Value {
    if let Some(map) = entry.as_mapping_mut() {
        map.remove(SNAPSHOTS);
    }
    if entry.is_null() {
        entry = Value::Mapping(serde_yaml::Mapping::new());
    }
    entry
}

/// Whether a rename keeps the order of envs.
fn has_same_order(before: &Value, after: &Value, change: &Change) -> bool {
    let Change::RenameEnv { .. } = change else {
        return true;
    };
    let keys = |root: &Value| -> Option<Vec<Value>> {
        Some(
            root.get(CONTAINERS)?
                .as_mapping()?
                .keys()
                .cloned()
                .collect(),
        )
    };
    keys(before) == keys(after)
}

/// The map of a key, created if missing.
fn child<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let value = parent
        .as_mapping_mut()?
        .entry(key.into())
        .or_insert_with(|| Value::Mapping(serde_yaml::Mapping::new()));
    if value.is_null() {
        *value = Value::Mapping(serde_yaml::Mapping::new());
    }
    Some(value)
}

/// Replaces empty maps by null: the editor writes an emptied map as either.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Mapping(map) => {
            let map = map
                .into_iter()
                .map(|(key, value)| (key, without_empty(value)));
            let map: serde_yaml::Mapping = map.filter(|(_, value)| !value.is_null()).collect();
            if map.is_empty() {
                Value::Null
            } else {
                Value::Mapping(map)
            }
        }
        other => other,
    }
}

/// The same change with the copied entry in plain form, without comments; `None` for a change that
/// copies nothing.
pub(super) fn without_formatting(text: &str, change: &Change) -> Option<Change> {
    let (env, before) = match change {
        Change::RestoreEnv { env, before } => (env, single_env_file(before, env, env)?),
        Change::CloneEnv { source, env } => {
            let file = File::parse(text).ok()?;
            change.ensure_names(&file).ok()?;
            (env, single_env_file(text, source, env)?)
        }
        _ => return None,
    };
    let env = env.clone();
    Some(Change::RestoreEnv { env, before })
}

/// A file with one env of another file; a clone has no snapshots.
fn single_env_file(text: &str, source: &EnvName, env: &EnvName) -> Option<String> {
    let root: Value = serde_yaml::from_str(text).ok()?;
    let entry = root.get(CONTAINERS)?.get(source.as_str())?.clone();
    let entry = if source == env {
        entry
    } else {
        without_snapshots(entry)
    };
    let entries = serde_yaml::Mapping::from_iter([(env.as_str().into(), entry)]);
    let file = serde_yaml::Mapping::from_iter([(CONTAINERS.into(), entries.into())]);
    serde_yaml::to_string(&file).ok()
}

/// Whether an env's key has a value, directly or by an alias.
pub(super) fn has_value(text: &str, env: &EnvName) -> bool {
    let root: Option<Value> = serde_yaml::from_str(text).ok();
    let entry = root
        .as_ref()
        .and_then(|root| root.get(CONTAINERS)?.get(env.as_str()));
    entry.is_some_and(|entry| !entry.is_null())
}

/// Refuses an edited text with other content or lost lines.
pub(super) fn check(before: &str, after: &str, change: &Change) -> Result<()> {
    let parsed: Option<Value> = serde_yaml::from_str(after).ok();
    let is_equal = match (parsed, expected(before, change)) {
        (Some(parsed), Some(expected)) => {
            has_same_order(&expected, &parsed, change)
                && without_empty(parsed) == without_empty(expected)
        }
        _ => false,
    };
    if is_equal
        && preserves_lines(before, after)
        && File::parse(after).is_ok()
        && is_same_entry(before, after, change)
    {
        Ok(())
    } else {
        Err(refuse(before, change))
    }
}

/// Whether a copied env parses to the same entry. Compared as text: plain YAML values do not
/// distinguish `0123` from `123`.
pub(super) fn is_same_entry(before: &str, after: &str, change: &Change) -> bool {
    let entry = |text: &str, env| File::parse(text).ok()?.entry(env).cloned();
    match change {
        Change::RestoreEnv { env, before } => entry(before, env) == entry(after, env),
        Change::CloneEnv { source, env } => {
            let source = entry(before, source).map(|source| Entry {
                snapshots: indexmap::IndexMap::new(),
                ..source
            });
            source == entry(after, env)
        }
        Change::RenameEnv { env, new } => entry(before, env) == entry(after, new),
        _ => true,
    }
}

/// Whether only one place differs, and it only grew, only shrank, or is one line.
fn preserves_lines(before: &str, after: &str) -> bool {
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
    old.is_empty() || new.is_empty() || old.len() == 1 || is_subsequence(new, old)
}

/// Whether two texts have the same content, and differ only in lines without comments.
pub(super) fn is_same_without_list(before: &str, after: &str) -> bool {
    let lines: Vec<&str> = after.lines().collect();
    let has_comment = |line: &&str| line.contains('#');
    let keeps_comments = before
        .lines()
        .filter(has_comment)
        .all(|line| lines.contains(&line));
    let content = |text: &str| {
        let file = File::parse(text).ok()?;
        let entries = file.containers.into_values().chain([file.defaults]);
        Some(
            entries
                .map(|entry| format!("{entry:?}"))
                .collect::<Vec<_>>(),
        )
    };
    keeps_comments && content(before).is_some_and(|expected| content(after) == Some(expected))
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
            let old: Option<Value> = serde_yaml::from_str(before).ok();
            let entry = old
                .as_ref()
                .and_then(|old| old.get(CONTAINERS)?.get(env.as_str()));
            let text = entry.and_then(|entry| serde_yaml::to_string(entry).ok());
            format!(
                "add `{env}:` to `containers:` with\n{}",
                text.unwrap_or_default()
            )
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
