//! Lossless edits of `containers.yaml`.
//!
//! The edit itself is made by a lossless editor (`yaml_edit`); what comes out is checked by `guard`
//! before it is used.

mod copy;
mod values;

use std::str::FromStr;

use yaml_edit::{Mapping, MappingBuilder, YamlFile};

use self::copy::{copy_lines, first_place, has_anchor, put_lines};
use self::values::{new_entry, rename_key, set_map, set_values, several_values, snapshot_about};
use super::change::Change;
use super::guard::{self, refuse};
use super::schema::File;
use crate::error::Result;
use crate::model::EnvName;

pub(super) const CONTAINERS: &str = "containers";
pub(super) const SNAPSHOTS: &str = "snapshots";

/// Applies a change to a file's text.
///
/// # Errors
/// `Config` where the text can't be read, or where the change can't be made without losing
/// something (aliases, merge keys, several documents); the hint says what to write by hand.
pub(super) fn apply(text: &str, change: &Change) -> Result<String> {
    // What can't be copied as it was written is at least copied as it was meant.
    apply_as_written(text, change).or_else(|refused| match guard::plainer(text, change) {
        Some(plainer) => match apply_as_written(text, &plainer) {
            Ok(after) if guard::copied(text, &after, change) => Ok(after),
            _ => Err(refused),
        },
        None => Err(refused),
    })
}

fn apply_as_written(text: &str, change: &Change) -> Result<String> {
    let file = File::parse(text)?;
    change.expect_names(&file)?;
    if let Change::AddEnv(new) = change
        && let Some(several) = several_values(&file, new)
    {
        // Each is one place, which can be checked.
        let edited = several.into_iter().try_fold(text.to_owned(), |text, new| {
            apply_as_written(&text, &Change::AddEnv(new))
        });
        return edited.map_err(|_| refuse(text, change));
    }
    if let Change::AddSnapshot { env, snapshot, .. } = change
        && file
            .entry(env)
            .is_some_and(|entry| entry.snapshots.contains_key(snapshot.as_str()))
    {
        // A new one under the name of one that the engine has lost.
        let (env, snapshot) = (env.clone(), snapshot.clone());
        let without = apply_as_written(text, &Change::RemoveSnapshot { env, snapshot })?;
        return apply_as_written(&without, change);
    }
    let (bom, body) = match text.strip_prefix('\u{feff}') {
        Some(body) => ("\u{feff}", body),
        None => ("", text),
    };
    let crlf = body.contains("\r\n") && !body.replace("\r\n", "").contains('\n');
    let unix = if crlf {
        body.replace("\r\n", "\n")
    } else {
        body.to_owned()
    };
    let ended = unix.is_empty() || unix.ends_with('\n');
    let whole = if ended {
        unix.clone()
    } else {
        format!("{unix}\n")
    };
    // The editor goes down into every level; this ends at one that is too deep for it.
    if serde_yaml::from_str::<serde_yaml::Value>(&whole).is_err() {
        return Err(refuse(&whole, change));
    }
    let listed = as_map(&whole, change)?;
    let mut edited = edited(&listed, change).ok_or_else(|| refuse(&whole, change))?;
    if !ended {
        edited.truncate(edited.trim_end_matches('\n').len());
    }
    let edited = if crlf {
        edited.replace('\n', "\r\n")
    } else {
        edited
    };
    Ok(format!("{bom}{edited}"))
}

/// The edited text, if a way is found that loses nothing.
fn edited(text: &str, change: &Change) -> Option<String> {
    let is_right = |edited: &String| guard::check(text, edited, change).is_ok();
    if let Change::CloneEnv { source, env } = change
        && let Some(copied) = copy_lines(text, source, env).filter(is_right)
    {
        return Some(copied);
    }
    let edited = edit(text, change)
        .map(|edited| comments_in_place(text, &without_braces(text, edited)))
        .filter(is_right);
    match change {
        Change::PutBack { env, before } if edited.is_none() => {
            put_lines(text, before, env).filter(is_right)
        }
        _ => edited,
    }
}

fn edit(text: &str, change: &Change) -> Option<String> {
    let start = if text.trim().is_empty() {
        format!("{text}{CONTAINERS}:\n")
    } else {
        text.to_owned()
    };
    let file = YamlFile::from_str(&start).ok()?;
    let root = file.document()?.as_mapping()?;
    let containers = root.get_mapping(CONTAINERS);
    let entry = |env: &EnvName| containers.as_ref()?.get_mapping(env.as_str());
    match change {
        Change::AddEnv(new) => match (entry(&new.env), &containers) {
            (Some(known), _) => set_values(&known, &File::parse(text).ok()?, new)?,
            // An alias would be replaced by a part of what it stands for.
            (None, Some(_)) if guard::says_something(&start, &new.env) => return None,
            (None, Some(containers)) => {
                set_map(containers, new.env.as_str(), |map| new_entry(map, new))?;
            }
            (None, None) => {
                let entry =
                    |map: MappingBuilder| map.mapping(new.env.as_str(), |map| new_entry(map, new));
                return first_env(&file, &root, entry);
            }
        },
        Change::CloneEnv { source, env } => {
            let copy = entry_of(&start, source)?;
            if has_anchor(&copy.to_string()) {
                return None;
            }
            copy.remove(SNAPSHOTS);
            containers?.set(env.as_str(), &copy);
        }
        Change::RenameEnv { env, new } => {
            let known = containers?.find_entry_by_key(env.as_str())?;
            return rename_key(&start, known.key_node()?.byte_range(), env, new);
        }
        Change::PutBack { env, before } => {
            let old = entry_of(before, env)?;
            match &containers {
                Some(containers) => containers.set(env.as_str(), &old),
                None => return first_env(&file, &root, |map| map.pair(env.as_str(), &old)),
            }
        }
        Change::RemoveEnv { env } => {
            containers?.remove(env.as_str())?;
        }
        Change::AddSnapshot {
            env,
            snapshot,
            description,
            created_at,
        } => {
            let about = |map| snapshot_about(map, description.as_deref(), *created_at);
            let entry = entry(env)?;
            match entry.get_mapping(SNAPSHOTS) {
                Some(known) => set_map(&known, snapshot.as_str(), about)?,
                None => set_map(&entry, SNAPSHOTS, |map| {
                    map.mapping(snapshot.as_str(), about)
                })?,
            }
        }
        Change::RemoveSnapshot { env, snapshot } => {
            entry(env)?
                .get_mapping(SNAPSHOTS)?
                .remove(snapshot.as_str())?;
        }
    }
    Some(file.to_string())
}

/// An env's map in another text.
fn entry_of(text: &str, env: &EnvName) -> Option<Mapping> {
    let file = YamlFile::from_str(text).ok()?;
    let containers = file.document()?.as_mapping()?.get_mapping(CONTAINERS)?;
    containers.get_mapping(env.as_str())
}

/// The text with the first env below `containers:`, where only comments may stand: they stay,
/// while the editor would take them for the value that is replaced.
fn first_env(
    file: &YamlFile,
    root: &Mapping,
    entry: impl FnOnce(MappingBuilder) -> MappingBuilder,
) -> Option<String> {
    let text = file.to_string();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(at) = first_place(&lines) else {
        set_map(root, CONTAINERS, entry)?;
        return Some(file.to_string());
    };
    let built = MappingBuilder::new()
        .mapping(CONTAINERS, entry)
        .build_document()
        .to_string();
    let (_, below) = built.split_once('\n')?;
    let below = format!("{}\n", below.trim_end_matches('\n'));
    lines.insert(at, &below);
    Some(lines.concat())
}

/// The text with the snapshots of the changed env as a map, where they are the list of an early
/// version; comments between its lines would be lost, so such a list is refused.
fn as_map(text: &str, change: &Change) -> Result<String> {
    let (Change::AddSnapshot { env, .. } | Change::RemoveSnapshot { env, .. }) = change else {
        return Ok(text.to_owned());
    };
    let listed = || {
        let file = YamlFile::from_str(text).ok()?;
        let containers = file.document()?.as_mapping()?.get_mapping(CONTAINERS)?;
        let entry = containers.get_mapping(env.as_str())?;
        entry.get_sequence(SNAPSHOTS)?;
        Some((file, entry))
    };
    let Some((file, entry)) = listed() else {
        return Ok(text.to_owned());
    };
    let known = File::parse(text)?;
    let known = known.entry(env).map(|entry| &entry.snapshots);
    let written = set_map(&entry, SNAPSHOTS, |map| {
        known.into_iter().flatten().fold(map, |map, (name, about)| {
            map.mapping(name, |map| {
                let fields = [
                    ("description", &about.description),
                    ("created_at", &about.created_at),
                ];
                let named = fields
                    .into_iter()
                    .filter_map(|(key, text)| Some((key, text.as_ref()?)));
                named.fold(map, |map, (key, text)| map.pair(key, text.as_str()))
            })
        })
    });
    let converted = file.to_string();
    if written.is_some() && guard::same_but_for_a_list(text, &converted) {
        Ok(converted)
    } else {
        Err(refuse(text, change))
    }
}

/// The editor writes `{}` behind the key of a map that it has emptied; ours was empty without.
fn without_braces(before: &str, after: String) -> String {
    let differing = before
        .lines()
        .zip(after.lines())
        .find(|(old, new)| old != new);
    match differing {
        Some((old, new)) if *new == format!("{old} {{}}") => after.replacen(new, old, 1),
        _ => after,
    }
}

/// The editor moves a comment at the left below the key that it stands before; its line stays.
fn comments_in_place(before: &str, after: &str) -> String {
    let old: Vec<&str> = before.lines().collect();
    let lines = after.split_inclusive('\n').map(|line| {
        let (text, end) = line.split_at(line.trim_end_matches('\n').len());
        let moved = text.trim_start().starts_with('#') && !old.contains(&text);
        let place = old
            .iter()
            .find(|known| moved && known.trim() == text.trim());
        format!("{}{end}", place.copied().unwrap_or(text))
    });
    lines.collect()
}

#[cfg(test)]
mod tests;
