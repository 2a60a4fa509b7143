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
            "project: a\ncontainers: # mine\n    # none yet\n\ndefaults: {}\n",
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
    fn the_list_of_an_early_version_becomes_a_map() {
        let text = "containers:\n  dev:\n    image: a # x\n    snapshots:\n      - name: old\n        description: d\n        created: \"2025-01-01T00:00:00Z\"\n      - {name: older}\n  other: {image: b}\n";
        let after = apply(text, &snapshot("x")).unwrap();
        let file = File::parse(&after).unwrap();
        let known = &file.entry(&"dev".parse().unwrap()).unwrap().snapshots;
        assert_eq!(known.keys().collect::<Vec<_>>(), ["old", "older", "s1"]);
        assert_eq!(
            known["old"].created_at.as_deref(),
            Some("2025-01-01T00:00:00Z")
        );
        assert!(after.contains("image: a # x\n"), "{after}");
        assert!(after.ends_with("  other: {image: b}\n"), "{after}");
        let commented = text.replace("- name: old", "# keep\n      - name: old");
        let error = apply(&commented, &snapshot("x")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn ports_of_a_known_env_are_set_and_its_image_is_left() {
        let change = Change::AddEnv {
            env: "dev".parse().unwrap(),
            image: "a".parse().unwrap(),
            ports: Some(vec![GuestPort::new(80).unwrap()]),
        };
        for (text, wanted) in [
            (
                "containers:\n  dev:\n    image: 'a' # x\n",
                "containers:\n  dev:\n    image: 'a' # x\n",
            ),
            (
                "defaults:\n  image: a\ncontainers:\n  dev:\n    memory: 1GiB\n",
                "defaults:\n  image: a\ncontainers:\n  dev:\n    memory: 1GiB\n",
            ),
        ] {
            let after = apply(text, &change).unwrap();
            assert!(after.starts_with(wanted), "{after}");
            let file = File::parse(&after).unwrap();
            assert_eq!(file.ports(&"dev".parse().unwrap()).unwrap().len(), 1);
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
