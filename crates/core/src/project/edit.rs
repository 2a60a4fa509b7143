//! Lossless edits of `containers.yaml`.
//!
//! The edit itself is made by a lossless editor (`yaml_edit`); what comes out is checked before it is
//! used: the new text must mean what the old one meant plus the change, and every line that the
//! change doesn't concern must still be there, byte for byte. What fails the check is refused.

use std::str::FromStr;

use jiff::Timestamp;
use serde_yaml::Value;
use yaml_edit::{Mapping, MappingBuilder, YamlFile};

use super::schema::File;
use crate::error::{Error, ErrorKind, Result};
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

const CONTAINERS: &str = "containers";
const SNAPSHOTS: &str = "snapshots";

/// Applies a change to a file's text.
///
/// # Errors
/// `Config` where the text can't be read, or where the change can't be made without losing
/// something (aliases, merge keys, several documents); the hint says what to write by hand.
pub(super) fn apply(text: &str, change: &Change) -> Result<String> {
    File::parse(text)?;
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
    let edited = edit(&whole, change).ok_or_else(|| refuse(&whole, change))?;
    let mut edited = without_braces(&whole, edited);
    check(&whole, &edited, change)?;
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
            (Some(known), _) => known.set("image", image.as_str()),
            (None, Some(containers)) => set_map(containers, env.as_str(), |map| {
                new_entry(map, image, ports.as_deref())
            })?,
            (None, None) => set_map(&root, CONTAINERS, |map| {
                map.mapping(env.as_str(), |map| new_entry(map, image, ports.as_deref()))
            })?,
        },
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
        Some(ports) => map.sequence("ports", |list| {
            ports
                .iter()
                .fold(list, |list, port| list.item(i64::from(port.get())))
        }),
        None => map,
    }
}

/// The same change on the parsed values: what the edited text has to mean.
fn meant(before: &str, change: &Change) -> Option<Value> {
    let mut root: Value = serde_yaml::from_str(before).ok()?;
    if root.is_null() {
        root = Value::Mapping(serde_yaml::Mapping::new());
    }
    let containers = child(&mut root, CONTAINERS)?;
    match change {
        Change::AddEnv { env, image, ports } => {
            let entry = child(containers, env.as_str())?;
            entry
                .as_mapping_mut()?
                .insert("image".into(), image.as_str().into());
            if let Some(ports) = ports {
                let ports: Vec<Value> = ports.iter().map(|port| port.get().into()).collect();
                entry.as_mapping_mut()?.insert("ports".into(), ports.into());
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

fn check(before: &str, after: &str, change: &Change) -> Result<()> {
    let parsed: Option<Value> = serde_yaml::from_str(after).ok();
    let meant = meant(before, change);
    let same = match (parsed, meant) {
        (Some(parsed), Some(meant)) => without_empty(parsed) == without_empty(meant),
        _ => false,
    };
    if same && lines_kept(before, after) && File::parse(after).is_ok() {
        Ok(())
    } else {
        Err(refuse(before, change))
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

/// Whether `part` are lines of `whole`, in order: a removal keeps the comments between.
fn subsequence(part: &[&str], whole: &[&str]) -> bool {
    let mut rest = whole.iter();
    part.iter()
        .all(|line| rest.any(|candidate| candidate == line))
}

fn refuse(text: &str, change: &Change) -> Error {
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
        Change::AddEnv { env, image, .. } => {
            format!("below `containers:` write `{env}: {{image: {image}}}`")
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

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\nproject: webapp   # name\nextra: [1,  2]\ncontainers:\n  # first\n  \
        dev:\n    image: ubuntu:24.04\n    ports: [3000]  # x\n\n  # other\n  other: {image: a}\n# end\n";

    fn add(env: &str) -> Change {
        Change::AddEnv {
            env: env.parse().unwrap(),
            image: "debian:12".parse().unwrap(),
            ports: None,
        }
    }

    fn snapshot(description: &str) -> Change {
        Change::AddSnapshot {
            env: "dev".parse().unwrap(),
            snapshot: "s1".parse().unwrap(),
            description: Some(description.to_owned()),
            created_at: "2026-01-15T14:22:00Z".parse().unwrap(),
        }
    }

    #[test]
    fn an_added_env_changes_no_other_line() {
        let after = apply(FILE, &add("new")).unwrap();
        for line in FILE.lines() {
            assert!(
                after.lines().any(|kept| kept == line),
                "{line:?} is gone:\n{after}"
            );
        }
        assert_eq!(File::parse(&after).unwrap().env_names().len(), 3);
    }

    #[test]
    fn adding_and_removing_gives_the_same_bytes() {
        for text in [
            FILE.to_owned(),
            FILE.replace('\n', "\r\n"),
            format!("\u{feff}{FILE}"),
            FILE.trim_end().to_owned(),
        ] {
            let after = apply(&text, &add("new")).unwrap();
            assert_ne!(after, text);
            let back = apply(
                &after,
                &Change::RemoveEnv {
                    env: "new".parse().unwrap(),
                },
            )
            .unwrap();
            assert_eq!(back, text);
        }
    }

    #[test]
    fn the_last_env_and_the_last_snapshot_leave_an_empty_map() {
        let text = "containers:\n  dev:\n    image: a\ndefaults: {}\n";
        let with = apply(text, &snapshot("x")).unwrap();
        let (env, snapshot) = ("dev".parse().unwrap(), "s1".parse().unwrap());
        let without = apply(&with, &Change::RemoveSnapshot { env, snapshot }).unwrap();
        assert_eq!(
            without,
            "containers:\n  dev:\n    image: a\n    snapshots:\ndefaults: {}\n"
        );
        let none = apply(
            text,
            &Change::RemoveEnv {
                env: "dev".parse().unwrap(),
            },
        )
        .unwrap();
        assert_eq!(none, "containers:\ndefaults: {}\n");
    }

    #[test]
    fn descriptions_that_look_like_something_else_stay_text() {
        for text in [
            "1234",
            "yes",
            "a: b # c",
            "- x",
            "\"quoted\"",
            "it's",
            "~",
            "2024-01-15",
            "{}",
        ] {
            let after = apply(FILE, &snapshot(text)).unwrap();
            let file = File::parse(&after).unwrap();
            let entry = &file.entry(&"dev".parse().unwrap()).unwrap().snapshots["s1"];
            assert_eq!(entry.description.as_deref(), Some(text), "{after}");
        }
    }

    #[test]
    fn files_without_envs_get_their_first() {
        for text in [
            "",
            "project: a\n",
            "project: a\ncontainers:\n",
            "project: a\ncontainers: {}\n",
        ] {
            let after = apply(text, &add("dev")).unwrap();
            assert_eq!(
                File::parse(&after).unwrap().env_names().len(),
                1,
                "{text:?}: {after}"
            );
        }
    }

    #[test]
    fn what_would_be_lost_is_refused_with_its_line() {
        let text = "base: &b {image: x}\ncontainers:\n  dev: *b\n";
        let error = apply(text, &snapshot("x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("line 3"), "{error}");
        assert!(error.hint().unwrap().contains("by hand"));
    }
}
