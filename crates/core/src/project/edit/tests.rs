//! Edits of single files; see `properties` for those of any file.

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
fn a_snapshot_of_a_known_name_is_written_anew() {
    for about in [
        "{}",
        "{created_at: 2020-01-01T00:00:00Z, description: old}",
        "# lost\n        description: 'it is old'\n        created_at: x",
    ] {
        let text = format!(
            "containers:\n  dev:\n    image: a\n    snapshots:\n      before:\n        description: b\n      s1: {about}\n      after: {{}}\n"
        );
        let after = apply(&text, &snapshot("new")).unwrap();
        let file = File::parse(&after).unwrap();
        let known = &file.entry(&"dev".parse().unwrap()).unwrap().snapshots;
        assert_eq!(known.len(), 3, "{after}");
        assert_eq!(known["s1"].description.as_deref(), Some("new"), "{after}");
        assert_eq!(known["before"].description.as_deref(), Some("b"), "{after}");
    }
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
