//! What an edit of `containers.yaml` has to be before it is written.
//!
//! The new text must mean what the old one meant plus the change, and every line that the change
//! doesn't concern must still be there, byte for byte. What fails is refused, with what to write by
//! hand.

use serde_yaml::Value;

use super::change::{Change, NewEnv};
use super::edit::{CONTAINERS, SNAPSHOTS};
use super::schema::{Entry, File};
use crate::error::{Error, ErrorKind, Result};
use crate::model::EnvName;

/// The same change on the parsed values: what the edited text has to mean.
fn meant(before: &str, change: &Change) -> Option<Value> {
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
        Change::PutBack { env, before } => {
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
            let mut about = serde_yaml::Mapping::new();
            if let Some(text) = description {
                about.insert("description".into(), text.as_str().into());
            }
            about.insert("created_at".into(), created_at.to_string().into());
            snapshots
                .as_mapping_mut()?
                .insert(snapshot.as_str().into(), about.into());
        }
        Change::RemoveSnapshot { env, snapshot } => {
            let snapshots = child(child(containers, env.as_str())?, SNAPSHOTS)?;
            snapshots.as_mapping_mut()?.remove(snapshot.as_str())?;
        }
    }
    Some(root)
}

/// A new env, or values of one that is there.
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

/// The same entries in the same order, one of them under another name.
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

/// What a copy of an env has; one with nothing below it is an empty map, which can be written.
fn without_snapshots(mut entry: Value) -> Value {
    if let Some(map) = entry.as_mapping_mut() {
        map.remove(SNAPSHOTS);
    }
    if entry.is_null() {
        entry = Value::Mapping(serde_yaml::Mapping::new());
    }
    entry
}

/// Whether the keys of two texts' envs are the same in the same order, but for those of the change.
fn order_kept(before: &Value, after: &Value, change: &Change) -> bool {
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

/// The map below a key; an empty one where there is nothing yet.
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

/// A map that the change has emptied may be written as one with nothing in it.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Mapping(map) => {
            let kept = map
                .into_iter()
                .map(|(key, value)| (key, without_empty(value)));
            let kept: serde_yaml::Mapping = kept.filter(|(_, value)| !value.is_null()).collect();
            if kept.is_empty() {
                Value::Null
            } else {
                Value::Mapping(kept)
            }
        }
        other => other,
    }
}

/// The same change with what it copies in the plainest form, without its comments; `None` for one that
/// copies nothing.
pub(super) fn plainer(text: &str, change: &Change) -> Option<Change> {
    let (env, before) = match change {
        Change::PutBack { env, before } => (env, entry_alone(before, env, env)?),
        Change::CloneEnv { source, env } => {
            let file = File::parse(text).ok()?;
            change.expect_names(&file).ok()?;
            (env, entry_alone(text, source, env)?)
        }
        _ => return None,
    };
    let env = env.clone();
    Some(Change::PutBack { env, before })
}

/// A file with nothing but one env of another; a copy of it has no snapshots.
fn entry_alone(text: &str, source: &EnvName, env: &EnvName) -> Option<String> {
    let whole: Value = serde_yaml::from_str(text).ok()?;
    let entry = whole.get(CONTAINERS)?.get(source.as_str())?.clone();
    let entry = if source == env {
        entry
    } else {
        without_snapshots(entry)
    };
    let entries = serde_yaml::Mapping::from_iter([(env.as_str().into(), entry)]);
    let root = serde_yaml::Mapping::from_iter([(CONTAINERS.into(), entries.into())]);
    serde_yaml::to_string(&root).ok()
}

/// Whether there is anything below an env's key, here or where an alias leads.
pub(super) fn says_something(text: &str, env: &EnvName) -> bool {
    let whole: Option<Value> = serde_yaml::from_str(text).ok();
    let entry = whole
        .as_ref()
        .and_then(|whole| whole.get(CONTAINERS)?.get(env.as_str()));
    entry.is_some_and(|entry| !entry.is_null())
}

/// Refuses an edited text that lost something, or means something else.
pub(super) fn check(before: &str, after: &str, change: &Change) -> Result<()> {
    let parsed: Option<Value> = serde_yaml::from_str(after).ok();
    let meant = meant(before, change);
    let same = match (parsed, meant) {
        (Some(parsed), Some(meant)) => {
            order_kept(&meant, &parsed, change) && without_empty(parsed) == without_empty(meant)
        }
        _ => false,
    };
    if same
        && lines_kept(before, after)
        && File::parse(after).is_ok()
        && copied(before, after, change)
    {
        Ok(())
    } else {
        Err(refuse(before, change))
    }
}

/// Whether a copied env says the same to us as its source. The values alone don't tell: they know no
/// difference between `0123` and `123`.
pub(super) fn copied(before: &str, after: &str, change: &Change) -> bool {
    let entry = |text: &str, env| File::parse(text).ok()?.entry(env).cloned();
    match change {
        Change::PutBack { env, before } => entry(before, env) == entry(after, env),
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

/// Whether the lines before and after one changed place are the same, and that place has only grown,
/// only shrunk, or is one line.
fn lines_kept(before: &str, after: &str) -> bool {
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
    old.is_empty() || new.is_empty() || old.len() == 1 || subsequence(new, old)
}

/// Whether two texts mean the same to us, and differ only in lines without comments.
pub(super) fn same_but_for_a_list(before: &str, after: &str) -> bool {
    let kept: Vec<&str> = after.lines().collect();
    let commented = |line: &&str| line.contains('#');
    let comments_kept = before
        .lines()
        .filter(commented)
        .all(|line| kept.contains(&line));
    let of = |text: &str| {
        let file = File::parse(text).ok()?;
        let entries = file.containers.into_values().chain([file.defaults]);
        Some(
            entries
                .map(|entry| format!("{entry:?}"))
                .collect::<Vec<_>>(),
        )
    };
    comments_kept && of(before).is_some_and(|meant| of(after) == Some(meant))
}

/// Whether `part` are lines of `whole`, in order: a removal keeps the comments between.
fn subsequence(part: &[&str], whole: &[&str]) -> bool {
    let mut rest = whole.iter();
    part.iter()
        .all(|line| rest.any(|candidate| candidate == line))
}

/// Says why a text can't be changed, and what to write by hand.
pub(super) fn refuse(text: &str, change: &Change) -> Error {
    let reason = text.lines().enumerate().find_map(|(number, line)| {
        let code = line.split(" #").next().unwrap_or(line).trim();
        let shared = code.contains("<<:") || code.contains(": *");
        let several = number > 0 && code == "---";
        (shared || several).then(|| {
            let what = if several {
                "a second document"
            } else {
                "an alias or a merge key"
            };
            format!("line {} has {what}", number + 1)
        })
    });
    let reason = reason.unwrap_or_else(|| "its form isn't one that we can change".to_owned());
    Error::new(
        ErrorKind::Config,
        format!("containers.yaml can't be changed without loss: {reason}"),
    )
    .with_hint(format!("change it by hand: {}", by_hand(change)))
}

fn by_hand(change: &Change) -> String {
    match change {
        Change::AddEnv(NewEnv { env, image, .. }) => {
            format!("below `containers:` write `{env}: {{image: {image}}}`")
        }
        Change::CloneEnv { source, env } => format!(
            "below `containers:` write `{env}:` with what stands below `{source}`, without `snapshots`"
        ),
        Change::RenameEnv { env, new } => {
            format!("below `containers:` write `{new}:` in place of `{env}:`")
        }
        Change::PutBack { env, before } => {
            let old: Option<Value> = serde_yaml::from_str(before).ok();
            let entry = old
                .as_ref()
                .and_then(|old| old.get(CONTAINERS)?.get(env.as_str()));
            let text = entry.and_then(|entry| serde_yaml::to_string(entry).ok());
            format!(
                "below `containers:` write `{env}:` and below that\n{}",
                text.unwrap_or_default()
            )
        }
        Change::RemoveEnv { env } => format!("delete `{env}` below `containers:`"),
        Change::AddSnapshot { env, snapshot, .. } => {
            format!("below `snapshots:` of `{env}` write `{snapshot}: {{}}`")
        }
        Change::RemoveSnapshot { env, snapshot } => {
            format!("delete `{snapshot}` below `snapshots:` of `{env}`")
        }
    }
}
