//! Edits of example files; `properties` covers generated ones.

use super::*;
use crate::error::ErrorKind;
use crate::model::{ByteSize, EnvName, GuestPort, Limits};
use crate::project::NewEnv;

const FILE: &str = "# ours\nproject: webapp   # name\nextra: [1,  2]\ncontainers:\n  # first\n  \
    dev:\n    image: ubuntu:24.04\n    ports: [3000]  # x\n\n  # other\n  other: {image: a}\n# end\n";

fn add(env: &str) -> Change {
    Change::AddEnv(NewEnv::new(
        env.parse().unwrap(),
        "debian:12".parse().unwrap(),
    ))
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
fn added_env_changes_no_other_line() {
    let after = apply(FILE, &add("new")).unwrap();
    for line in FILE.lines() {
        assert!(
            after.lines().any(|kept| kept == line),
            "{line:?} is missing:\n{after}"
        );
    }
    assert_eq!(File::parse(&after).unwrap().env_names().len(), 3);
}

#[test]
fn adding_and_removing_restores_the_bytes() {
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
fn removing_the_last_entry_leaves_an_empty_map() {
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
fn descriptions_that_look_like_other_types_stay_text() {
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
fn adds_the_first_env() {
    for text in [
        "",
        "# ours\n",
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
fn converts_a_snapshot_list_to_a_map() {
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
fn replaces_a_snapshot_of_the_same_name() {
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
fn sets_ports_and_keeps_the_image() {
    let change = Change::AddEnv(NewEnv {
        ports: Some(vec![GuestPort::new(80).unwrap()]),
        ..NewEnv::new("dev".parse().unwrap(), "a".parse().unwrap())
    });
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
fn refuses_an_edit_with_loss_with_its_line() {
    let text = "base: &b {image: x}\ncontainers:\n  dev: *b\n";
    for change in [snapshot("x"), add("dev")] {
        let error = apply(text, &change).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("line 3"), "{error}");
        assert!(error.hint().unwrap().contains("by hand"));
    }
}

fn env(name: &str) -> EnvName {
    name.parse().unwrap()
}

fn full(name: &str) -> NewEnv {
    NewEnv {
        ports: Some(vec![
            GuestPort::new(80).unwrap(),
            GuestPort::new(443).unwrap(),
        ]),
        user: Some("ada".parse().unwrap()),
        limits: Limits {
            cpus: Some(2),
            memory: Some(ByteSize(4 << 30)),
            disk: Some(ByteSize(1500)),
        },
        ..NewEnv::new(env(name), "debian:12".parse().unwrap())
    }
}

#[test]
fn writes_only_the_given_values_of_a_new_env() {
    let text = "project: a\ncontainers:\n";
    let after = apply(text, &Change::AddEnv(full("dev"))).unwrap();
    let wanted = "project: a\ncontainers:\n  dev:\n    image: debian:12\n    ports:\n      - 80\n      \
        - 443\n    user:\n      name: ada\n    cpus: 2\n    memory: 4GiB\n    disk: '1500'\n";
    assert_eq!(after, wanted);
    let limits = Limits {
        memory: Some(ByteSize(512 << 20)),
        ..Limits::default()
    };
    let one = NewEnv {
        limits,
        ..NewEnv::new(env("dev"), "x".parse().unwrap())
    };
    let after = apply(text, &Change::AddEnv(one)).unwrap();
    assert_eq!(
        after,
        "project: a\ncontainers:\n  dev:\n    image: x\n    memory: 512MiB\n"
    );
}

#[test]
fn changes_values_of_an_env_in_place() {
    let text = "containers:\n  dev:\n    cpus: 8 # many\n    # the disk\n    disk: 1GiB\n    \
        image: debian:11\n    user: {password: x} # secret\n  other: {image: a}\n";
    let after = apply(text, &Change::AddEnv(full("dev"))).unwrap();
    for line in [
        "    cpus: 2 # many\n",
        "    # the disk\n",
        "    disk: '1500'\n",
        "    image: debian:12\n",
        "  other: {image: a}\n",
    ] {
        assert!(after.contains(line), "{line:?} in\n{after}");
    }
    let file = File::parse(&after).unwrap();
    let user = file.user(&env("dev")).unwrap();
    assert_eq!(
        (user.name.as_str(), user.has_explicit_password),
        ("ada", true)
    );
    assert!(after.contains("# secret"), "{after}");
    // A second time changes nothing.
    assert_eq!(apply(&after, &Change::AddEnv(full("dev"))).unwrap(), after);
}

#[test]
fn copy_has_everything_but_snapshots() {
    let text = "containers:\n  dev: # mine\n    image: a # x\n    snapshots:\n      s: {}\n    \
        setup: |\n      one\n\n      two # kept\n    x-y: [1,  2]\n";
    let change = Change::CloneEnv {
        source: env("dev"),
        env: env("copy"),
    };
    let after = apply(text, &change).unwrap();
    assert!(after.starts_with(text), "{after}");
    let copied = &after[text.len()..];
    assert!(copied.contains("image: a # x\n"), "{after}");
    assert!(copied.contains("x-y: [1,  2]\n"), "{after}");
    let file = File::parse(&after).unwrap();
    let copy = file.entry(&env("copy")).unwrap();
    assert!(copy.snapshots.is_empty());
    assert_eq!(copy.setup.as_deref(), Some("one\n\ntwo # kept\n"));
}

#[test]
fn copies_envs_with_anchors_aliases_or_no_value() {
    for (text, image) in [
        (
            "containers:\n  dev: &d {image: a}\n  other: *d\n",
            Some("a"),
        ),
        (
            "base: &b {image: b, snapshots: {s: {}}}\ncontainers:\n  dev: *b\n",
            Some("b"),
        ),
        (
            "containers:\n  dev:\n    image: &i c\n  other: {image: *i}\n",
            Some("c"),
        ),
        ("image: &i d\ncontainers:\n  dev: {image: *i}\n", Some("d")),
        ("containers:\n  dev:\n", None),
        ("containers: {dev: {image: e}}\n", Some("e")),
    ] {
        let change = Change::CloneEnv {
            source: env("dev"),
            env: env("copy"),
        };
        let after = apply(text, &change).unwrap();
        let file = File::parse(&after).unwrap();
        let copied = file.image(&env("copy")).map(|image| image.to_string());
        assert_eq!(copied.as_deref(), image, "{after}");
        assert_eq!(
            after.matches('&').count(),
            text.matches('&').count(),
            "{after}"
        );
        assert!(
            file.entry(&env("copy")).unwrap().snapshots.is_empty(),
            "{after}"
        );
    }
}

#[test]
fn renames_in_place() {
    for (text, wanted) in [
        (FILE.to_owned(), FILE.replace("  dev:", "  next:")),
        (
            "containers: {a: {image: dev}, dev: {image: dev}}".into(),
            "containers: {a: {image: dev}, next: {image: dev}}".into(),
        ),
        (
            "containers:\n  \"dev\" : &a # x\n    image: dev\n  b: *a\n".into(),
            "containers:\n  \"next\" : &a # x\n    image: dev\n  b: *a\n".into(),
        ),
        (
            "containers:\n  ? dev\n  : {image: dev}\n".into(),
            "containers:\n  ? next\n  : {image: dev}\n".into(),
        ),
    ] {
        let change = Change::RenameEnv {
            env: env("dev"),
            new: env("next"),
        };
        assert_eq!(apply(&text, &change).unwrap(), wanted);
    }
    // Names that look like other types, and a change of case.
    let text = "containers:\n  dev: {image: a}\n";
    for new in ["null", "true", "Dev", "on"] {
        let change = Change::RenameEnv {
            env: env("dev"),
            new: env(new),
        };
        let file = File::parse(&apply(text, &change).unwrap()).unwrap();
        assert_eq!(file.env_names(), [env(new)]);
    }
}

#[test]
fn checks_names_first() {
    let (dev, other, none) = (env("dev"), env("OTHER"), env("none"));
    for (change, kind) in [
        (
            Change::CloneEnv {
                source: none.clone(),
                env: env("new"),
            },
            ErrorKind::NotFound,
        ),
        (
            Change::CloneEnv {
                source: dev.clone(),
                env: other.clone(),
            },
            ErrorKind::AlreadyExists,
        ),
        (
            Change::CloneEnv {
                source: dev.clone(),
                env: dev.clone(),
            },
            ErrorKind::AlreadyExists,
        ),
        (
            Change::RenameEnv {
                env: none,
                new: env("new"),
            },
            ErrorKind::NotFound,
        ),
        (
            Change::RenameEnv {
                env: dev,
                new: other.clone(),
            },
            ErrorKind::AlreadyExists,
        ),
        (add(other.as_str()), ErrorKind::AlreadyExists),
    ] {
        assert_eq!(apply(FILE, &change).unwrap_err().kind(), kind, "{change:?}");
    }
}

#[test]
fn refuses_changes_of_a_too_deep_file() {
    let text = format!(
        "containers: {{dev: {{image: a}}}}\nx:\n  {}\n",
        "- ".repeat(100_000)
    );
    for change in [
        add("new"),
        add("dev"),
        snapshot("x"),
        Change::RemoveEnv { env: env("dev") },
    ] {
        assert_eq!(apply(&text, &change).unwrap_err().kind(), ErrorKind::Config);
    }
}
