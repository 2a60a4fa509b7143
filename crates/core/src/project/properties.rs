//! Property tests of the lossless writer over generated files.

use proptest::prelude::*;
use proptest::sample::select;

use super::change::{Change, NewEnv};
use super::edit::apply;
use super::schema::File;
use crate::model::{ByteSize, EnvName, GuestPort, Limits};

/// An existing env, and a new one.
const DEV: &str = "dev";
const NEW: &str = "fresh";

/// A comment after a value.
fn tail() -> impl Strategy<Value = String> {
    select(vec!["", "", " # note", "   # ünï", "\t# tab"]).prop_map(str::to_owned)
}

/// Blank lines and comments.
fn filler(indent: usize) -> impl Strategy<Value = String> {
    let pad = " ".repeat(indent);
    select(vec![
        String::new(),
        String::new(),
        "\n".to_owned(),
        format!("{pad}# a comment: with colon\n"),
        "# at the left\n".to_owned(),
        format!("{pad}# - looks like an item\n\n"),
    ])
}

/// Values of an env in block style.
fn pairs(indent: usize) -> impl Strategy<Value = String> {
    let pad = " ".repeat(indent);
    let pair = select(vec![
        "memory: 4GiB".to_owned(),
        "cpus: 2".to_owned(),
        "unknown: [1, two, {three: 4}]".to_owned(),
        "x-note: 'it''s quoted: # not a comment'".to_owned(),
        "user: {name: admin, password: 0123}".to_owned(),
        format!("x-list:\n{pad}  - apt update\n{pad}  - \"echo: done\""),
        format!("setup: |\n{pad}  apt-get update # kept\n\n{pad}  echo: done"),
        format!(
            "mounts:\n{pad}- host: . # here\n{pad}  guest: /work\n{pad}- {{host: ~, guest: /home/me}}"
        ),
        "env: [EDITOR, 'TERM']".to_owned(),
        "autostart: true".to_owned(),
        "disk: \"20GiB\"".to_owned(),
        format!("about: |\n{pad}  several\n{pad}   lines # kept\n\n{pad}  of text"),
        format!("folded: >-\n{pad}  one\n{pad}  two"),
        "ports: [80, 443]".to_owned(),
    ]);
    let lines = (pair, tail(), filler(indent)).prop_map({
        let pad = pad.clone();
        move |(pair, tail, filler)| {
            // A comment after a block would be part of its text.
            let tail = if pair.contains('\n') {
                String::new()
            } else {
                tail
            };
            (
                pair.split(':').next().unwrap_or_default().to_owned(),
                format!("{pad}{pair}{tail}\n{filler}"),
            )
        }
    });
    proptest::collection::vec(lines, 0..4).prop_map(|lines| {
        let mut seen = Vec::new();
        let unique = lines.into_iter().filter(|(key, _)| {
            let new = !seen.contains(key);
            seen.push(key.clone());
            new
        });
        unique.map(|(_, text)| text).collect()
    })
}

fn snapshots(indent: usize) -> impl Strategy<Value = String> {
    let pad = " ".repeat(indent);
    select(vec![
        String::new(),
        format!(
            "{pad}snapshots:\n{pad}  initial-state: # first\n{pad}    created_at: 2026-01-15T14:22:00Z\n"
        ),
        format!("{pad}snapshots: {{old: {{description: 7}}}}\n"),
        format!("{pad}snapshots:\n{pad}    old:\n{pad}        description: \"a: b\"\n"),
    ])
}

/// An env in block style.
fn block(name: &'static str, step: usize) -> impl Strategy<Value = String> {
    let (outer, inner) = (step, 2 * step);
    let pad = " ".repeat(outer);
    let key = select(vec![
        name.to_owned(),
        format!("\"{name}\""),
        format!("'{name}'"),
    ]);
    let image = select(vec!["debian:12", "'ubuntu:24.04'", "\"images:debian/12\""]);
    (key, tail(), image, tail(), pairs(inner), snapshots(inner), filler(outer)).prop_map(
        move |(key, after_key, image, after_image, pairs, snapshots, filler)| {
            format!(
                "{pad}{key}:{after_key}\n{pad}{pad}image: {image}{after_image}\n{pairs}{snapshots}{filler}"
            )
        },
    )
}

/// A file with the env `dev`, in block style.
fn block_file() -> impl Strategy<Value = String> {
    let head = select(vec![
        "",
        "project: webapp\n",
        "# on top\n\nproject: \"webapp\" # named\nbackend: auto\n",
        "---\nproject: webapp\n",
    ]);
    let defaults = select(vec![
        "",
        "defaults:\n  ports: [5173, 8000]\n",
        "defaults:\n    ports:\n    - 5173 # vite\n    - 8000\n    user: {name: dev}\n\n",
    ]);
    let after = select(vec![
        "",
        "x-after:\n  - kept\n",
        "\n# the end\n",
        "defaults-of-others: {}\n",
    ]);
    (head, defaults, select(vec![2_usize, 4]), after)
        .prop_flat_map(|(head, defaults, step, after)| {
            let envs = (
                proptest::option::of(block("zeta", step)),
                block(DEV, step),
                proptest::option::of(block("alpha", step)),
            );
            (Just((head, defaults, after)), envs)
        })
        .prop_map(|((head, defaults, after), (zeta, dev, alpha))| {
            let (zeta, alpha) = (zeta.unwrap_or_default(), alpha.unwrap_or_default());
            format!("{head}{defaults}containers:\n{zeta}{dev}{alpha}{after}")
        })
}

/// The text with the line ends and marks of various editors.
fn as_saved(text: String) -> impl Strategy<Value = String> {
    let saved = vec![
        text.clone(),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{text}"),
        text.trim_end_matches('\n').to_owned(),
    ];
    select(saved)
}

fn change() -> impl Strategy<Value = Change> {
    let description = proptest::option::of(select(vec![
        "x", "", "a: b # c", "- 1", "0123", "yes", "\"", "é",
    ]));
    prop_oneof![
        new_env(NEW).prop_map(Change::AddEnv),
        Just(Change::CloneEnv {
            source: name(DEV),
            env: name(NEW)
        }),
        Just(Change::RenameEnv {
            env: name(DEV),
            new: name(NEW)
        }),
        Just(Change::RemoveEnv { env: name(DEV) }),
        description.prop_map(|description| Change::AddSnapshot {
            env: name(DEV),
            snapshot: "s1".parse().unwrap(),
            description: description.map(str::to_owned),
            created_at: "2026-02-01T10:00:00Z".parse().unwrap(),
        }),
    ]
}

/// An env with some values of the command line.
fn new_env(env: &'static str) -> impl Strategy<Value = NewEnv> {
    let size = || proptest::option::of(select(vec![ByteSize(4 << 30), ByteSize(1500)]));
    let limits = (proptest::option::of(1_u32..9), size(), size());
    let ports = proptest::option::of(proptest::collection::vec(1_u16.., 0..3));
    let user = proptest::option::of(select(vec!["ada", "null", "true", "_x"]));
    (limits, ports, user).prop_map(move |((cpus, memory, disk), ports, user)| {
        let ports = ports.map(|mut ports| {
            ports.sort_unstable();
            ports.dedup();
            ports.into_iter().filter_map(GuestPort::new).collect()
        });
        NewEnv {
            ports,
            user: user.map(|name| name.parse().unwrap()),
            limits: Limits { cpus, memory, disk },
            ..NewEnv::new(name(env), "debian:12".parse().unwrap())
        }
    })
}

/// Asserts that the file has these values of an env.
fn ensure_values(file: &File, new: &NewEnv) {
    assert_eq!(file.image(&new.env).as_ref(), Some(&new.image));
    let (limits, expected) = (file.limits(&new.env).unwrap(), new.limits);
    assert_eq!(expected.cpus.or(limits.cpus), limits.cpus);
    assert_eq!(expected.memory.or(limits.memory), limits.memory);
    assert_eq!(expected.disk.or(limits.disk), limits.disk);
    if let Some(ports) = &new.ports {
        assert_eq!(&file.ports(&new.env).unwrap(), ports);
    }
    if let Some(user) = &new.user {
        assert_eq!(&file.user(&new.env).unwrap().name, user);
    }
}

fn name(text: &str) -> EnvName {
    text.parse().unwrap()
}

/// The content of a file except these envs.
fn others(text: &str, except: &[&str]) -> Vec<String> {
    let file = File::parse(text).unwrap();
    let envs = file.containers.iter();
    let envs = envs.filter(|(name, _)| !except.contains(&name.as_str()));
    let mut known: Vec<String> = envs.map(|entry| format!("{entry:?}")).collect();
    known.push(format!(
        "{:?} {:?} {:?}",
        file.project, file.backend, file.defaults
    ));
    known
}

/// Lines including their ends.
fn lines(text: &str) -> Vec<&str> {
    text.trim_start_matches('\u{feff}')
        .split_inclusive('\n')
        .collect()
}

/// The text with a final newline: a block at the end gets one once text follows.
fn with_final_newline(text: &str) -> String {
    if text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

fn in_order(part: &[&str], whole: &[&str]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|line| rest.any(|other| other == line))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn change_of_a_block_file_loses_nothing(
        text in block_file().prop_flat_map(as_saved),
        change in change(),
    ) {
        let after = apply(&text, &change).unwrap();
        let touched = match &change {
            Change::AddEnv(new) => vec![new.env.as_str()],
            Change::CloneEnv { .. } => vec![NEW],
            Change::RenameEnv { .. } => vec![DEV, NEW],
            _ => vec![DEV],
        };
        let (whole, changed) = (with_final_newline(&text), with_final_newline(&after));
        prop_assert_eq!(others(&whole, &touched), others(&changed, &touched));
        let (before, file) = (File::parse(&whole).unwrap(), File::parse(&changed).unwrap());
        let entry = file.entry(&name(touched[0]));
        match &change {
            Change::RemoveEnv { .. } => prop_assert!(entry.is_none()),
            Change::AddSnapshot { description, .. } => {
                let taken = &entry.unwrap().snapshots["s1"];
                prop_assert_eq!(&taken.description, description);
            }
            Change::AddEnv(new) => ensure_values(&file, new),
            Change::CloneEnv { .. } => {
                let mut source = before.entry(&name(DEV)).unwrap().clone();
                source.snapshots.clear();
                prop_assert_eq!(format!("{source:?}"), format!("{:?}", entry.unwrap()));
            }
            Change::RenameEnv { .. } => {
                prop_assert!(entry.is_none());
                let known = |file: &File, env| format!("{:?}", file.entry(&name(env)));
                prop_assert_eq!(known(&before, DEV), known(&file, NEW));
                let names = before.env_names().into_iter();
                let names: Vec<EnvName> = names.map(|env| if env == name(DEV) { name(NEW) } else { env }).collect();
                prop_assert_eq!(names, file.env_names());
            }
            _ => prop_assert!(entry.is_some()),
        }
        let (old, new) = (lines(&text), lines(&after));
        if matches!(change, Change::RemoveEnv { .. }) {
            prop_assert!(in_order(&new[..new.len() - 1], &old), "{}", after);
        } else if matches!(change, Change::RenameEnv { .. }) {
            // Only the name differs.
            prop_assert_eq!(&after.replacen(NEW, DEV, 1), &text);
        } else if !text.contains("snapshots: {") || !matches!(change, Change::AddSnapshot { .. }) {
            // The last line may have had no end; a flow map is one line that grows.
            prop_assert!(in_order(&old[..old.len() - 1], &new), "{}", after);
        }
        prop_assert_eq!(text.starts_with('\u{feff}'), after.starts_with('\u{feff}'));
        if text.contains("\r\n") {
            prop_assert!(!after.replace("\r\n", "").contains('\n'));
        }
    }

    #[test]
    fn adding_and_removing_restores_the_bytes(
        text in block_file().prop_flat_map(as_saved),
        new in new_env(NEW),
    ) {
        let added = apply(&text, &Change::AddEnv(new)).unwrap();
        let back = apply(&added, &Change::RemoveEnv { env: name(NEW) }).unwrap();
        prop_assert_eq!(back, text);
    }

    #[test]
    fn setting_values_changes_nothing_else(
        text in block_file().prop_flat_map(as_saved),
        new in new_env(DEV),
    ) {
        let after = apply(&text, &Change::AddEnv(new.clone())).unwrap();
        let (whole, changed) = (with_final_newline(&text), with_final_newline(&after));
        let file = File::parse(&changed).unwrap();
        ensure_values(&file, &new);
        prop_assert_eq!(others(&whole, &[DEV]), others(&changed, &[DEV]));
        let (old, own) = (File::parse(&whole).unwrap(), file.entry(&name(DEV)).unwrap());
        let old = old.entry(&name(DEV)).unwrap();
        prop_assert_eq!(&own.snapshots, &old.snapshots);
        prop_assert_eq!(&own.setup, &old.setup);
        prop_assert_eq!(&own.mounts, &old.mounts);
        prop_assert_eq!(&own.user.password, &old.user.password);
        for comment in lines(&text).into_iter().filter(|line| line.trim_start().starts_with('#')) {
            prop_assert!(after.contains(comment.trim_end()), "{comment:?} is missing:\n{after}");
        }
    }

    #[test]
    fn renaming_back_restores_the_bytes(
        text in block_file().prop_flat_map(as_saved),
    ) {
        let there = Change::RenameEnv { env: name(DEV), new: name(NEW) };
        let back = Change::RenameEnv { env: name(NEW), new: name(DEV) };
        prop_assert_eq!(apply(&apply(&text, &there).unwrap(), &back).unwrap(), text);
    }

    #[test]
    fn removing_a_copy_restores_the_lines(
        text in block_file().prop_flat_map(as_saved),
    ) {
        let copy = Change::CloneEnv { source: name(DEV), env: name(NEW) };
        let copied = apply(&text, &copy).unwrap();
        let back = apply(&copied, &Change::RemoveEnv { env: name(NEW) }).unwrap();
        // A comment or blank line after an entry may belong to either neighbour.
        let content = |text: &str| {
            let content = lines(text).into_iter().map(str::trim_end).filter(|line| {
                !line.is_empty() && !line.trim_start().starts_with('#')
            });
            content.map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(content(&back), content(&text));
    }

    #[test]
    fn restores_a_removed_env_completely(text in block_file()) {
        let removed = apply(&text, &Change::RemoveEnv { env: name(DEV) }).unwrap();
        let changed = format!("# changed since\n{removed}");
        let restore = Change::RestoreEnv { env: name(DEV), before: text.clone() };
        let back = apply(&changed, &restore).unwrap();
        let of = |text: &str| File::parse(text).unwrap().entry(&name(DEV)).cloned();
        prop_assert_eq!(of(&text), of(&back));
        prop_assert_eq!(others(&text, &[DEV]), others(&back, &[DEV]));
    }

    #[test]
    fn any_text_is_changed_correctly_or_refused(text in "[a-z:{}\\[\\]&*#'\"|>! \n-]{0,80}", change in change()) {
        // Must not panic.
        if let Ok(after) = apply(&text, &change) {
            prop_assert!(File::parse(&after).is_ok());
        }
    }
}
