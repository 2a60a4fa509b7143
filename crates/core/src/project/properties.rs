//! Properties of the lossless writer, over files as people write them.

use proptest::prelude::*;
use proptest::sample::select;

use super::change::{Change, NewEnv};
use super::edit::apply;
use super::schema::File;
use crate::model::{ByteSize, EnvName, GuestPort, Limits};

/// The env that changes are made to, and one that isn't there.
const DEV: &str = "dev";
const NEW: &str = "fresh";

/// A line end that somebody may have written behind a value.
fn tail() -> impl Strategy<Value = String> {
    select(vec!["", "", " # note", "   # ünï", "\t# tab"]).prop_map(str::to_owned)
}

/// Lines that mean nothing.
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

/// Pairs below an env, in block style.
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
            // A comment behind a block would be part of its text.
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
        let once = lines.into_iter().filter(|(key, _)| {
            let new = !seen.contains(key);
            seen.push(key.clone());
            new
        });
        once.map(|(_, text)| text).collect()
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

/// The same with the line ends and the marks that editors leave.
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

/// An env with some of what the command line can give it.
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

/// Asserts that the file says of an env what it was to say.
fn expect_values(file: &File, new: &NewEnv) {
    assert_eq!(file.image(&new.env).as_ref(), Some(&new.image));
    let (limits, wanted) = (file.limits(&new.env).unwrap(), new.limits);
    assert_eq!(wanted.cpus.or(limits.cpus), limits.cpus);
    assert_eq!(wanted.memory.or(limits.memory), limits.memory);
    assert_eq!(wanted.disk.or(limits.disk), limits.disk);
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

/// Everything that we know of a file but of these envs.
fn others(text: &str, but: &[&str]) -> Vec<String> {
    let file = File::parse(text).unwrap();
    let envs = file.containers.iter();
    let envs = envs.filter(|(name, _)| !but.contains(&name.as_str()));
    let mut known: Vec<String> = envs.map(|entry| format!("{entry:?}")).collect();
    known.push(format!(
        "{:?} {:?} {:?}",
        file.project, file.backend, file.defaults
    ));
    known
}

/// Lines, each with its end.
fn lines(text: &str) -> Vec<&str> {
    text.trim_start_matches('\u{feff}')
        .split_inclusive('\n')
        .collect()
}

/// The text with its last line's end: a text block that the file ends in gets it, once something follows.
fn ended(text: &str) -> String {
    match text.ends_with('\n') {
        true => text.to_owned(),
        false => format!("{text}\n"),
    }
}

fn in_order(part: &[&str], whole: &[&str]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|line| rest.any(|other| other == line))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_change_of_a_block_file_succeeds_and_loses_nothing(
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
        let (whole, changed) = (ended(&text), ended(&after));
        prop_assert_eq!(others(&whole, &touched), others(&changed, &touched));
        let (before, file) = (File::parse(&whole).unwrap(), File::parse(&changed).unwrap());
        let entry = file.entry(&name(touched[0]));
        match &change {
            Change::RemoveEnv { .. } => prop_assert!(entry.is_none()),
            Change::AddSnapshot { description, .. } => {
                let taken = &entry.unwrap().snapshots["s1"];
                prop_assert_eq!(&taken.description, description);
            }
            Change::AddEnv(new) => expect_values(&file, new),
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
            // One word differs, whatever stands around it.
            prop_assert_eq!(&after.replacen(NEW, DEV, 1), &text);
        } else if !text.contains("snapshots: {") || !matches!(change, Change::AddSnapshot { .. }) {
            // The last line may have had no end, and a map in braces is one line that grows.
            prop_assert!(in_order(&old[..old.len() - 1], &new), "{}", after);
        }
        prop_assert_eq!(text.starts_with('\u{feff}'), after.starts_with('\u{feff}'));
        if text.contains("\r\n") {
            prop_assert!(!after.replace("\r\n", "").contains('\n'));
        }
    }

    #[test]
    fn what_is_added_and_removed_again_leaves_the_same_bytes(
        text in block_file().prop_flat_map(as_saved),
        new in new_env(NEW),
    ) {
        let added = apply(&text, &Change::AddEnv(new)).unwrap();
        let back = apply(&added, &Change::RemoveEnv { env: name(NEW) }).unwrap();
        prop_assert_eq!(back, text);
    }

    #[test]
    fn values_of_a_known_env_are_set_and_nothing_else_changes(
        text in block_file().prop_flat_map(as_saved),
        new in new_env(DEV),
    ) {
        let after = apply(&text, &Change::AddEnv(new.clone())).unwrap();
        let (whole, changed) = (ended(&text), ended(&after));
        let file = File::parse(&changed).unwrap();
        expect_values(&file, &new);
        prop_assert_eq!(others(&whole, &[DEV]), others(&changed, &[DEV]));
        let (old, own) = (File::parse(&whole).unwrap(), file.entry(&name(DEV)).unwrap());
        let old = old.entry(&name(DEV)).unwrap();
        prop_assert_eq!(&own.snapshots, &old.snapshots);
        prop_assert_eq!(&own.setup, &old.setup);
        prop_assert_eq!(&own.mounts, &old.mounts);
        prop_assert_eq!(&own.user.password, &old.user.password);
        for comment in lines(&text).into_iter().filter(|line| line.trim_start().starts_with('#')) {
            prop_assert!(after.contains(comment.trim_end()), "{comment:?} is gone:\n{after}");
        }
    }

    #[test]
    fn a_name_that_is_changed_and_changed_back_leaves_the_same_bytes(
        text in block_file().prop_flat_map(as_saved),
    ) {
        let there = Change::RenameEnv { env: name(DEV), new: name(NEW) };
        let back = Change::RenameEnv { env: name(NEW), new: name(DEV) };
        prop_assert_eq!(apply(&apply(&text, &there).unwrap(), &back).unwrap(), text);
    }

    #[test]
    fn a_copy_that_is_removed_again_leaves_the_same_lines(
        text in block_file().prop_flat_map(as_saved),
    ) {
        let copy = Change::CloneEnv { source: name(DEV), env: name(NEW) };
        let copied = apply(&text, &copy).unwrap();
        let back = apply(&copied, &Change::RemoveEnv { env: name(NEW) }).unwrap();
        // Whose a comment or a blank line at the end of an entry is, nobody can say.
        let said = |text: &str| {
            let said = lines(text).into_iter().map(str::trim_end).filter(|line| {
                !line.is_empty() && !line.trim_start().starts_with('#')
            });
            said.map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(said(&back), said(&text));
    }

    #[test]
    fn a_removed_env_is_put_back_with_all_that_it_had(text in block_file()) {
        let removed = apply(&text, &Change::RemoveEnv { env: name(DEV) }).unwrap();
        let changed = format!("# changed since\n{removed}");
        let put_back = Change::PutBack { env: name(DEV), before: text.clone() };
        let back = apply(&changed, &put_back).unwrap();
        let of = |text: &str| File::parse(text).unwrap().entry(&name(DEV)).cloned();
        prop_assert_eq!(of(&text), of(&back));
        prop_assert_eq!(others(&text, &[DEV]), others(&back, &[DEV]));
    }

    #[test]
    fn any_text_is_changed_as_meant_or_refused(text in "[a-z:{}\\[\\]&*#'\"|>! \n-]{0,80}", change in change()) {
        // Not a panic, and nothing in between: what is refused was not written.
        if let Ok(after) = apply(&text, &change) {
            prop_assert!(File::parse(&after).is_ok());
        }
    }
}
