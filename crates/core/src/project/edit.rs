//! Lossless edits of `containers.yaml`.
//!
//! The edit itself is made by a lossless editor (`yaml_edit`); what comes out is checked by `guard`
//! before it is used.

use std::str::FromStr;

use jiff::Timestamp;
use yaml_edit::{Mapping, MappingBuilder, SequenceBuilder, YamlFile};

use super::guard::{self, refuse};
use super::schema::File;
use crate::error::Result;
use crate::model::{EnvName, GuestPort, ImageName, SnapshotName};

/// One change of the file.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new env, or the image of one that the file names already.
    AddEnv {
        /// Its name.
        env: EnvName,
        /// Its image.
        image: ImageName,
        /// Its ports, where they differ from the defaults.
        ports: Option<Vec<GuestPort>>,
    },
    /// A removed env is back, with all that stood below it.
    PutBack {
        /// Its name.
        env: EnvName,
        /// The file's text before it was removed.
        before: String,
    },
    /// An env is gone.
    RemoveEnv {
        /// Its name.
        env: EnvName,
    },
    /// A snapshot was taken.
    AddSnapshot {
        /// Of which env.
        env: EnvName,
        /// Its name.
        snapshot: SnapshotName,
        /// A line about it.
        description: Option<String>,
        /// When it was made.
        created_at: Timestamp,
    },
    /// A snapshot is gone.
    RemoveSnapshot {
        /// Of which env.
        env: EnvName,
        /// Its name.
        snapshot: SnapshotName,
    },
}

pub(super) const CONTAINERS: &str = "containers";
pub(super) const SNAPSHOTS: &str = "snapshots";

/// Applies a change to a file's text.
///
/// # Errors
/// `Config` where the text can't be read, or where the change can't be made without losing
/// something (aliases, merge keys, several documents); the hint says what to write by hand.
pub(super) fn apply(text: &str, change: &Change) -> Result<String> {
    let applied = apply_as_written(text, change);
    let Change::PutBack { env, before } = change else {
        return applied;
    };
    // What can't be copied as it was written is at least copied as it was meant.
    applied.or_else(|refused| {
        let before = guard::entry_alone(before, env).ok_or(refused)?;
        let env = env.clone();
        apply_as_written(text, &Change::PutBack { env, before })
    })
}

fn apply_as_written(text: &str, change: &Change) -> Result<String> {
    let file = File::parse(text)?;
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
    let listed = as_map(&whole, change)?;
    let edited = edit(&listed, change).ok_or_else(|| refuse(&whole, change))?;
    let mut edited = comments_in_place(&listed, &without_braces(&listed, edited));
    guard::check(&listed, &edited, change)?;
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
        Change::AddEnv { env, image, ports } => match (entry(env), &containers) {
            (Some(known), _) => {
                if File::parse(text).ok()?.image(env).as_ref() != Some(image) {
                    known.set("image", image.as_str());
                }
                if let Some(ports) = ports {
                    let list = port_list(SequenceBuilder::new(), ports).build_document();
                    known.set("ports", list.as_sequence()?);
                }
            }
            (None, Some(containers)) => set_map(containers, env.as_str(), |map| {
                new_entry(map, image, ports.as_deref())
            })?,
            (None, None) => {
                let entry = |map: MappingBuilder| {
                    map.mapping(env.as_str(), |map| new_entry(map, image, ports.as_deref()))
                };
                return first_env(&file, &root, entry);
            }
        },
        Change::PutBack { env, before } => {
            let old = YamlFile::from_str(before).ok()?;
            let old = old.document()?.as_mapping()?.get_mapping(CONTAINERS)?;
            let old = old.get_mapping(env.as_str())?;
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
            let entry = entry(env)?;
            let about = |map: MappingBuilder| {
                let map = match description {
                    Some(text) => map.pair("description", text.as_str()),
                    None => map,
                };
                map.pair("created_at", created_at.to_string())
            };
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

/// The text with the first env below `containers:`, where only comments may stand: they stay,
/// while the editor would take them for the value that is replaced.
fn first_env(
    file: &YamlFile,
    root: &Mapping,
    entry: impl FnOnce(MappingBuilder) -> MappingBuilder,
) -> Option<String> {
    let key = format!("{CONTAINERS}:");
    let text = file.to_string();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is_key = |line: &&str| {
        let rest = line.strip_prefix(key.as_str()).map(str::trim);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
    };
    let Some(at) = lines.iter().position(is_key) else {
        set_map(root, CONTAINERS, entry)?;
        return Some(file.to_string());
    };
    let built = MappingBuilder::new()
        .mapping(CONTAINERS, entry)
        .build_document()
        .to_string();
    let (_, below) = built.split_once('\n')?;
    let below = format!("{}\n", below.trim_end_matches('\n'));
    // Behind indented comments: one that stood behind a text would become a part of it.
    let is_comment = |line: &&str| line.starts_with(' ') && line.trim_start().starts_with('#');
    let rest = lines.iter().skip(at + 1);
    let comments = rest.take_while(|line| is_comment(line) || line.trim().is_empty());
    let last = comments
        .enumerate()
        .filter(|(_, line)| is_comment(line))
        .last();
    let at = at + 1 + last.map_or(0, |(behind, _)| behind + 1);
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

fn set_map(
    parent: &Mapping,
    key: &str,
    fill: impl FnOnce(MappingBuilder) -> MappingBuilder,
) -> Option<()> {
    let built = fill(MappingBuilder::new()).build_document();
    parent.set(key, built.as_mapping()?);
    Some(())
}

fn new_entry(
    map: MappingBuilder,
    image: &ImageName,
    ports: Option<&[GuestPort]>,
) -> MappingBuilder {
    let map = map.pair("image", image.as_str());
    match ports {
        Some(ports) => map.sequence("ports", |list| port_list(list, ports)),
        None => map,
    }
}

fn port_list(list: SequenceBuilder, ports: &[GuestPort]) -> SequenceBuilder {
    ports
        .iter()
        .fold(list, |list, port| list.item(i64::from(port.get())))
}

#[cfg(test)]
mod tests;
