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
    let listed = as_map(&whole, change)?;
    let edited = edit(&listed, change).ok_or_else(|| refuse(&whole, change))?;
    let mut edited = without_braces(&listed, edited);
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
            (None, None) => set_map(&root, CONTAINERS, |map| {
                map.mapping(env.as_str(), |map| new_entry(map, image, ports.as_deref()))
            })?,
        },
        Change::PutBack { env, before } => {
            let old = YamlFile::from_str(before).ok()?;
            let old = old.document()?.as_mapping()?.get_mapping(CONTAINERS)?;
            let old = old.get_mapping(env.as_str())?;
            match &containers {
                Some(containers) => containers.set(env.as_str(), &old),
                None => set_map(&root, CONTAINERS, |map| map.pair(env.as_str(), &old))?,
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
mod tests {
    use super::*;
    use crate::error::ErrorKind;

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
