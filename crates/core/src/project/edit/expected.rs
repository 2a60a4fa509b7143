//! What a change means: the file's content after it.

use serde_yaml::{Mapping, Value};

use crate::model::{ByteSize, EnvName};
use crate::project::change::{CONTAINERS, Change, NewEnv, SNAPSHOTS};
use crate::project::guard::entry_of;
use crate::project::schema::File;
use crate::project::snapshots::SnapshotEntry;

/// The content after a change; `None` if the change has no meaning for this file.
pub(super) fn expected(before: &Value, file: &File, change: &Change) -> Option<Value> {
    let mut root = match before {
        Value::Null => Mapping::new(),
        content => content.as_mapping()?.clone(),
    };
    let containers = map_of(&mut root, CONTAINERS)?;
    match change {
        Change::AddEnv(new) => set_values(containers, file, new)?,
        Change::CloneEnv { source, env } => {
            let mut entry = containers.get(source.as_str())?.clone();
            if let Some(entry) = entry.as_mapping_mut() {
                entry.shift_remove(SNAPSHOTS);
            }
            add(containers, env, entry)?;
        }
        Change::RenameEnv { env, new } => {
            let entry = containers.shift_remove(env.as_str())?;
            add(containers, new, entry)?;
        }
        Change::RestoreEnv { env, before } => {
            add(containers, env, entry_of(before, env)?)?;
        }
        Change::RemoveEnv { env } => {
            containers.shift_remove(env.as_str())?;
        }
        Change::AddSnapshot {
            env,
            snapshot,
            description,
            created_at,
        } => {
            let entry = SnapshotEntry {
                description: description.clone(),
                created_at: Some(created_at.to_string()),
            };
            let entry = serde_yaml::to_value(entry).ok()?;
            snapshots(containers, file, env)?.insert(snapshot.as_str().into(), entry);
        }
        Change::RemoveSnapshot { env, snapshot } => {
            snapshots(containers, file, env)?.shift_remove(snapshot.as_str())?;
        }
    }
    Some(root.into())
}

/// The map of a key, created if missing.
fn map_of<'a>(parent: &'a mut Mapping, key: &str) -> Option<&'a mut Mapping> {
    let value = parent.entry(key.into()).or_insert(Value::Null);
    if value.is_null() {
        *value = Mapping::new().into();
    }
    value.as_mapping_mut()
}

/// Adds a new env.
fn add(containers: &mut Mapping, env: &EnvName, entry: Value) -> Option<()> {
    let known = containers.insert(env.as_str().into(), entry);
    known.is_none().then_some(())
}

/// Adds an env, or sets values of an existing one; an image from the defaults stays there.
fn set_values(containers: &mut Mapping, file: &File, new: &NewEnv) -> Option<()> {
    let known = containers.get(new.env.as_str());
    let image = file.image(&new.env);
    let has_image = image.as_ref() == Some(&new.image) && known.is_some_and(Value::is_mapping);
    let entry = map_of(containers, new.env.as_str())?;
    let user = new.user.as_ref().map(|name| {
        let known = entry.get("user").and_then(Value::as_mapping);
        let mut user = known.cloned().unwrap_or_default();
        user.insert("name".into(), name.as_str().into());
        user.into()
    });
    let ports = new.ports.as_ref().map(|ports| {
        let ports = ports.iter().map(|port| Value::from(port.get()));
        ports.collect()
    });
    let text = |size: ByteSize| Value::from(size.to_string());
    let values = [
        ("image", (!has_image).then(|| new.image.as_str().into())),
        ("ports", ports),
        ("user", user),
        ("cpus", new.limits.cpus.map(Value::from)),
        ("memory", new.limits.memory.map(text)),
        ("disk", new.limits.disk.map(text)),
    ];
    for (key, value) in values {
        if let Some(value) = value {
            entry.insert(key.into(), value);
        }
    }
    Some(())
}

/// The snapshots of an env. The list of an early version becomes a map.
fn snapshots<'a>(
    containers: &'a mut Mapping,
    file: &File,
    env: &EnvName,
) -> Option<&'a mut Mapping> {
    let known = &file.entry(env)?.snapshots;
    let entry = map_of(containers, env.as_str())?;
    if entry.get(SNAPSHOTS).is_some_and(Value::is_sequence) {
        entry.insert(SNAPSHOTS.into(), serde_yaml::to_value(known).ok()?);
    }
    map_of(entry, SNAPSHOTS)
}
