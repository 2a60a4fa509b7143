//! Properties of the lossless writer, over files as people write them.

use proptest::prelude::*;
use proptest::sample::select;

use super::edit::{Change, apply};
use super::schema::File;
use crate::model::EnvName;

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
        format!("setup:\n{pad}  - apt update\n{pad}  - \"echo: done\""),
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
        Just(Change::AddEnv {
            env: name(NEW),
            image: "debian:12".parse().unwrap(),
            ports: None
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

fn name(text: &str) -> EnvName {
    text.parse().unwrap()
}

/// Everything that we know of a file but of one env.
fn others(text: &str, but: &str) -> Vec<String> {
    let file = File::parse(text).unwrap();
    let envs = file.containers.iter().filter(|(name, _)| *name != but);
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
            Change::AddEnv { env, .. } | Change::RemoveEnv { env } => env.as_str(),
            _ => DEV,
        };
        prop_assert_eq!(others(&text, touched), others(&after, touched));
        let file = File::parse(&after).unwrap();
        let entry = file.entry(&name(touched));
        match &change {
            Change::RemoveEnv { .. } => prop_assert!(entry.is_none()),
            Change::AddSnapshot { description, .. } => {
                let taken = &entry.unwrap().snapshots["s1"];
                prop_assert_eq!(&taken.description, description);
            }
            _ => prop_assert!(entry.is_some()),
        }
        let (old, new) = (lines(&text), lines(&after));
        if matches!(change, Change::RemoveEnv { .. }) {
            prop_assert!(in_order(&new[..new.len() - 1], &old), "{}", after);
        } else if !text.contains("snapshots: {") {
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
    ) {
        let image = "debian:12".parse().unwrap();
        let added = apply(&text, &Change::AddEnv { env: name(NEW), image, ports: None }).unwrap();
        let back = apply(&added, &Change::RemoveEnv { env: name(NEW) }).unwrap();
        prop_assert_eq!(back, text);
    }

    #[test]
    fn a_removed_env_is_put_back_with_all_that_it_had(text in block_file()) {
        let removed = apply(&text, &Change::RemoveEnv { env: name(DEV) }).unwrap();
        let changed = format!("# changed since\n{removed}");
        let put_back = Change::PutBack { env: name(DEV), before: text.clone() };
        let back = match apply(&changed, &put_back) {
            Ok(back) => back,
            // A text in lines before a comment that is as deep: refused, never changed.
            Err(error) => {
                prop_assert!(text.contains("about: |") || text.contains("folded: >"), "{}", error);
                prop_assert!(error.hint().is_some_and(|hint| hint.contains("image: ")));
                return Ok(());
            }
        };
        let of = |text: &str| format!("{:?}", File::parse(text).unwrap().entry(&name(DEV)));
        prop_assert_eq!(of(&text), of(&back));
        prop_assert_eq!(others(&text, DEV), others(&back, DEV));
    }

    #[test]
    fn any_text_is_changed_as_meant_or_refused(text in "[a-z:{}\\[\\]&*#'\"|>! \n-]{0,80}", change in change()) {
        // Not a panic, and nothing in between: what is refused was not written.
        if let Ok(after) = apply(&text, &change) {
            prop_assert!(File::parse(&after).is_ok());
        }
    }
}
