//! Lossless edits of `containers.yaml`.
//!
//! `yaml_edit` makes the edit; `guard` checks the result before it is used.

mod copy;
mod values;

use std::str::FromStr;

use yaml_edit::{Mapping, MappingBuilder, YamlFile};

use self::copy::{copy_lines, first_env_line, has_anchor, insert_lines};
use self::values::{new_entry, rename_key, set_map, set_values, snapshot_entry, split_values};
use super::change::{CONTAINERS, Change, SNAPSHOTS};
use super::guard::{self, refuse};
use super::schema::File;
use crate::error::Result;
use crate::model::EnvName;

/// Applies a change to a file's text.
///
/// # Errors
/// `Config` for invalid text or a change that would lose content (aliases, merge keys, several
/// documents), with a hint what to write by hand.
pub(super) fn apply(text: &str, change: &Change) -> Result<String> {
    // If an entry cannot be copied as written, copy its content.
    apply_as_written(text, change).or_else(|refused| {
        match guard::without_formatting(text, change) {
            Some(simplified) => match apply_as_written(text, &simplified) {
                Ok(after) if guard::is_same_entry(text, &after, change) => Ok(after),
                _ => Err(refused),
            },
            None => Err(refused),
        }
    })
}

fn apply_as_written(text: &str, change: &Change) -> Result<String> {
    let file = File::parse(text)?;
    change.ensure_names(&file)?;
    if let Change::AddEnv(new) = change
        && let Some(parts) = split_values(&file, new)
    {
        // One place per edit, so that each can be checked.
        let edited = parts.into_iter().try_fold(text.to_owned(), |text, new| {
            apply_as_written(&text, &Change::AddEnv(new))
        });
        return edited.map_err(|_| refuse(text, change));
    }
    if let Change::AddSnapshot { env, snapshot, .. } = change
        && file
            .entry(env)
            .is_some_and(|entry| entry.snapshots.contains_key(snapshot.as_str()))
    {
        // Replaces an entry whose snapshot the engine lost.
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
    let has_final_newline = unix.is_empty() || unix.ends_with('\n');
    let body = if has_final_newline {
        unix.clone()
    } else {
        format!("{unix}\n")
    };
    // The editor recurses without a limit; the parser rejects too deep nesting.
    if serde_yaml::from_str::<serde_yaml::Value>(&body).is_err() {
        return Err(refuse(&body, change));
    }
    let text = snapshots_as_map(&body, change)?;
    let mut edited = edited(&text, change).ok_or_else(|| refuse(&body, change))?;
    if !has_final_newline {
        edited.truncate(edited.trim_end_matches('\n').len());
    }
    let edited = if crlf {
        edited.replace('\n', "\r\n")
    } else {
        edited
    };
    Ok(format!("{bom}{edited}"))
}

impl Change {
    /// Returns the file's text after this change.
    ///
    /// # Errors
    /// `Config` for invalid text or a change that would lose content, with a hint what to write by
    /// hand. `NotFound` and `AlreadyExists` for names.
    pub fn apply(&self, text: &str) -> Result<String> {
        apply(text, self)
    }
}

/// The edited text, if an edit without loss is found.
fn edited(text: &str, change: &Change) -> Option<String> {
    let is_correct = |edited: &String| guard::check(text, edited, change).is_ok();
    if let Change::CloneEnv { source, env } = change
        && let Some(copied) = copy_lines(text, source, env).filter(is_correct)
    {
        return Some(copied);
    }
    let edited = edit(text, change)
        .map(|edited| restore_comment_indent(text, &without_braces(text, edited)))
        .filter(is_correct);
    match change {
        Change::RestoreEnv { env, before } if edited.is_none() => {
            insert_lines(text, before, env).filter(is_correct)
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
            // The edit would replace an alias by a part of its value.
            (None, Some(_)) if guard::has_value(&start, &new.env) => return None,
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
        Change::RestoreEnv { env, before } => {
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
            let entry_of_snapshot = |map| snapshot_entry(map, description.as_deref(), *created_at);
            let entry = entry(env)?;
            match entry.get_mapping(SNAPSHOTS) {
                Some(known) => set_map(&known, snapshot.as_str(), entry_of_snapshot)?,
                None => set_map(&entry, SNAPSHOTS, |map| {
                    map.mapping(snapshot.as_str(), entry_of_snapshot)
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

/// An env's map in a text.
fn entry_of(text: &str, env: &EnvName) -> Option<Mapping> {
    let file = YamlFile::from_str(text).ok()?;
    let containers = file.document()?.as_mapping()?.get_mapping(CONTAINERS)?;
    containers.get_mapping(env.as_str())
}

/// Adds the first env below `containers:`. Keeps comments there, which the editor would replace
/// with the value.
fn first_env(
    file: &YamlFile,
    root: &Mapping,
    entry: impl FnOnce(MappingBuilder) -> MappingBuilder,
) -> Option<String> {
    let text = file.to_string();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(index) = first_env_line(&lines) else {
        set_map(root, CONTAINERS, entry)?;
        return Some(file.to_string());
    };
    let built = MappingBuilder::new()
        .mapping(CONTAINERS, entry)
        .build_document()
        .to_string();
    let (_, below) = built.split_once('\n')?;
    let below = format!("{}\n", below.trim_end_matches('\n'));
    lines.insert(index, &below);
    Some(lines.concat())
}

/// Converts the env's snapshot list of an early version to a map. Refused if comments between its
/// lines would be lost.
fn snapshots_as_map(text: &str, change: &Change) -> Result<String> {
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
        known
            .into_iter()
            .flatten()
            .fold(map, |map, (name, snapshot)| {
                map.mapping(name, |map| {
                    let fields = [
                        ("description", &snapshot.description),
                        ("created_at", &snapshot.created_at),
                    ];
                    let named = fields
                        .into_iter()
                        .filter_map(|(key, text)| Some((key, text.as_ref()?)));
                    named.fold(map, |map, (key, text)| map.pair(key, text.as_str()))
                })
            })
    });
    let converted = file.to_string();
    if written.is_some() && guard::is_same_without_list(text, &converted) {
        Ok(converted)
    } else {
        Err(refuse(text, change))
    }
}

/// Removes the `{}` that the editor writes after the key of an emptied map.
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

/// Restores the indentation of comments that the editor moved.
fn restore_comment_indent(before: &str, after: &str) -> String {
    let old: Vec<&str> = before.lines().collect();
    let lines = after.split_inclusive('\n').map(|line| {
        let (text, end) = line.split_at(line.trim_end_matches('\n').len());
        let moved = text.trim_start().starts_with('#') && !old.contains(&text);
        let original = old
            .iter()
            .find(|known| moved && known.trim() == text.trim());
        format!("{}{end}", original.copied().unwrap_or(text))
    });
    lines.collect()
}

#[cfg(test)]
mod tests;
