//! Valid and invalid files.

use super::merged::DEFAULT_PORTS;
use super::*;
use crate::model::ByteSize;
use crate::provision::Password;

const FILE: &str = r#"
project: webapp
defaults:
  ports: [5173]
  user: {name: dev, password: 1234}
  memory: "4GiB"
containers:
  zeta:
    image: ubuntu:24.04
    ports: []
    snapshots:
      initial-state: {description: Initial state, created_at: "2026-01-15T14:22:00Z"}
  on:
    image: 2024-01-15
    user: {name: admin}
    unknown: [1, 2]
    snapshots:
      - {name: old, description: 7, created: "2025-01-01T00:00:00Z"}
  empty:
"#;

fn env(name: &str) -> EnvName {
    EnvName::parse(name).unwrap()
}

#[test]
fn keeps_source_text_and_order() {
    let file = File::parse(FILE).unwrap();
    let names: Vec<String> = file.env_names().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["zeta", "on", "empty"]);
    assert_eq!(file.image(&env("on")).unwrap().as_str(), "2024-01-15");
    assert_eq!(file.user(&env("on")).unwrap().name.as_str(), "admin");
    assert!(file.user(&env("on")).unwrap().password == Password::parse("1234").unwrap());
    assert_eq!(file.ports(&env("zeta")).unwrap(), []);
    assert_eq!(file.ports(&env("on")).unwrap().len(), 1);
    assert_eq!(
        file.limits(&env("on")).unwrap().memory,
        Some(ByteSize(4 << 30))
    );
}

#[test]
fn reads_both_formats_of_snapshots() {
    let file = File::parse(FILE).unwrap();
    let of = |name: &str| file.entry(&env(name)).unwrap().snapshots.clone();
    assert_eq!(
        of("zeta")["initial-state"].description.as_deref(),
        Some("Initial state")
    );
    assert_eq!(of("on")["old"].description.as_deref(), Some("7"));
}

#[test]
fn applies_the_documented_defaults() {
    let file = File::parse("containers: {dev: {image: x}}").unwrap();
    let ports: Vec<u16> = file
        .ports(&env("dev"))
        .unwrap()
        .iter()
        .map(|p| p.get())
        .collect();
    assert_eq!(ports, DEFAULT_PORTS);
    let user = file.user(&env("dev")).unwrap();
    assert_eq!(
        (user.name.as_str(), user.has_explicit_password),
        ("dev", false)
    );
    assert_eq!(file.instance(&env("dev")).unwrap().as_str(), "dev");
}

#[test]
fn errors_have_line_and_column() {
    let error = File::parse("project: a\ncontainers:\n  dev: [1\n").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("line"), "{error}");
}

#[test]
fn rejects_names_that_differ_by_case() {
    let error = File::parse("containers: {dev: {}, DEV: {}}").unwrap_err();
    assert!(
        error.to_string().contains("differ by more than case"),
        "{error}"
    );
}

const NEW_FIELDS: &str = r#"
backend: lxc
remote: build-box
defaults:
  autostart: true
  env: [EDITOR, TERM, EDITOR]
  setup: apt-get update
  mounts: [{host: ., guest: /work}]
containers:
  main:
  own:
    autostart: false
    env: []
    setup:
    mounts: []
"#;

#[test]
fn own_values_override_defaults() {
    let file = File::parse(NEW_FIELDS).unwrap();
    assert!(file.autostart(&env("main")) && !file.autostart(&env("own")));
    let names = file.host_variables(&env("main")).unwrap();
    let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    assert_eq!(names, ["EDITOR", "TERM"]);
    assert_eq!(file.host_variables(&env("own")).unwrap(), []);
    assert_eq!(file.setup_text(&env("main")), Some("apt-get update"));
    assert_eq!(file.mount_entries(&env("main"))[0].guest, "/work");
    assert!(file.mount_entries(&env("own")).is_empty());
    assert_eq!(file.remote().unwrap().unwrap().as_str(), "build-box");
    assert_eq!(file.backend().unwrap(), BackendChoice::Lxc);
}

#[test]
fn unknown_env_has_the_defaults() {
    let file = File::parse(NEW_FIELDS).unwrap();
    assert!(file.autostart(&env("new")));
    assert_eq!(file.mount_entries(&env("new")).len(), 1);
    assert_eq!(file.image(&env("new")), None);
}

#[test]
fn empty_setup_is_none() {
    let text = "defaults: {setup: x}\ncontainers: {dev: {setup: \"\"}, other: {setup: ' '}}";
    let file = File::parse(text).unwrap();
    assert_eq!(file.setup_text(&env("dev")), None);
    assert_eq!(file.setup_text(&env("other")), None);
}

#[test]
fn rejects_invalid_values() {
    type Read = fn(&File) -> Option<Error>;
    let cases: [(&str, Read, &str); 9] = [
        (
            "containers: {dev: {user: {name: www-data}}}",
            |file| file.user(&env("dev")).err(),
            "`www-data`",
        ),
        (
            "containers: {dev: {user: {name: \"$(touch x)\"}}}",
            |file| file.user(&env("dev")).err(),
            "`$(touch x)`",
        ),
        (
            "defaults: {user: {password: \"a\\tb\"}}\ncontainers: {dev: }",
            |file| file.user(&env("dev")).err(),
            "control character",
        ),
        (
            "containers: {dev: {cpus: 0}}",
            |file| file.limits(&env("dev")).err(),
            "cpus: 0",
        ),
        (
            "containers: {dev: {memory: lots}}",
            |file| file.limits(&env("dev")).err(),
            "lots",
        ),
        (
            "containers: {dev: {env: [A=b]}}",
            |file| file.host_variables(&env("dev")).err(),
            "A=b",
        ),
        ("backend: docker", |file| file.backend().err(), "docker"),
        ("remote: 'a:b'", |file| file.remote().err(), "a:b"),
        (
            "containers: {dev: {nesting: maybe}}",
            |file| file.nesting(&env("dev")).err(),
            "maybe",
        ),
    ];
    for (text, read, word) in cases {
        let error = read(&File::parse(text).unwrap()).unwrap();
        assert!(error.to_string().contains(word), "{text}: {error}");
    }
}

#[test]
fn wrong_types_have_line_and_column() {
    for text in [
        "containers:\n  dev:\n    cpus: many\n",
        "containers:\n  dev:\n    ports: 80\n",
        "containers:\n  dev:\n    ports: [80000]\n",
        "containers:\n  dev:\n    mounts: [/srv]\n",
        "containers:\n  dev:\n    mounts: [{guest: /srv}]\n",
        "containers:\n  dev:\n    autostart: perhaps\n",
        "containers:\n  dev:\n    env: {A: b}\n",
        "containers: [dev]\n",
        "- project\n",
        "just words\n",
    ] {
        let error = File::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        assert!(error.to_string().contains("line"), "{text}: {error}");
        assert!(error.hint().is_some(), "{text}");
    }
}

#[test]
fn rejects_duplicates_with_their_line() {
    for (text, word) in [
        (
            "project: a\nproject: b\n",
            "line 2: duplicate field `project`",
        ),
        (
            "containers:\n  dev: {image: a}\n  dev: {image: b}\n",
            "duplicate env `dev`",
        ),
        ("containers:\n  dev:\n    image: a\n    image: b\n", "image"),
        ("containers:\n  dev: {user: {name: a, name: b}}\n", "name"),
    ] {
        let error = File::parse(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(
            message.contains(word) && message.contains("line"),
            "{text}: {message}"
        );
    }
}

#[test]
fn nested_aliases_and_brackets_are_bounded() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        let list = [before.as_str(); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    text.push_str("containers: {dev: {image: *a11}}\n");
    assert_eq!(File::parse(&text).unwrap_err().kind(), ErrorKind::Config);
    for part in ["[", "{a: ", "- ", "? ", "[{", "!a ", "&a "] {
        // The value of an unknown key may be accepted unread.
        let deep = format!("x:\n  {}\n", part.repeat(100_000));
        if let Err(error) = File::parse(&deep) {
            assert_eq!(error.kind(), ErrorKind::Config, "{part}");
        }
    }
}

#[test]
fn rejects_invalid_names_with_their_line() {
    for (text, line, word) in [
        ("project: a b\n", 1, "`a b`"),
        ("containers:\n  dev: {}\n  'a_b': {}\n", 3, "`a_b`"),
        ("containers:\n  dev:\n  DEV:\n", 3, "`DEV`"),
        ("containers:\n  ../x: {}\n", 2, "`../x`"),
    ] {
        let error = File::parse(text).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(&format!("line {line}: ")) && message.contains(word),
            "{message}"
        );
        assert!(error.hint().is_some());
    }
}

#[test]
fn brackets_of_a_script_do_not_nest() {
    let line = "      printf '\\033[31m%s' x\n";
    let script = format!("containers:\n  dev:\n    setup: |\n{}", line.repeat(2000));
    assert!(File::parse(&script).is_ok());
    let after = format!("{script}    ports: {}\n", "[".repeat(1500));
    for hostile in [
        after,
        // No blocks, though they look like one.
        format!("a: # |\n  {}\n", "[".repeat(1500)),
        format!("- a: |\n  b: {}\n", "[".repeat(1500)),
        format!("a: [b, |\n  {}\n", "[".repeat(1500)),
        format!("x:\n  a: \"\nb: |\n  \"\n  c: {}\n", "[".repeat(1500)),
    ] {
        let error = File::parse(&hostile).unwrap_err();
        assert!(error.to_string().contains("open brackets"), "{error}");
    }
}
