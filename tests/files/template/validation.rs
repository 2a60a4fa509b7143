//! `template validate`

use std::fs;
use std::process::Command;

use super::place::Place;

#[test]
fn built_in_templates_are_valid() {
    let place = Place::new();
    let said = place.ok(&["template", "validate"]);
    assert!(said.lines().count() >= 10, "{said}");
    assert!(said.lines().all(|line| line.ends_with(": ok")), "{said}");
}

#[test]
fn all_invalid_templates_are_reported_with_lines() {
    let place = Place::new();
    place.write_own("odd", b"images: [{location: /x}]\ncpu: 2\n");
    place.ok(&["template", "validate", "odd"]);
    place.write_own("wrong", b"images: [{location: /x}]\n\nmemory: lots\n");
    place.write_own("yaml", b"a: 1\nb: [\n");
    let ran = place.run(&["template", "validate"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for line in [
        "wrong:3: error: invalid `memory`: expected a size",
        "yaml:3: error: invalid YAML",
        "odd:2: warning: unknown key `cpu`: did you mean `cpus`?",
        "ubuntu-24.04: ok",
    ] {
        assert!(ran.stdout.contains(line), "no {line:?}: {ran:#?}");
    }
    let data = place.json(&["template", "validate", "wrong", "debian-12"]);
    assert_eq!(data["templates"][0]["valid"], false);
    assert_eq!(data["templates"][0]["problems"][0]["line"], 3);
    assert_eq!(data["templates"][0]["problems"][0]["level"], "error");
    assert_eq!(data["templates"][1]["valid"], true);
    assert_eq!(data["templates"][1]["by_lima"], false);
}

#[test]
fn a_file_is_checked_wherever_it_is() {
    let place = Place::new();
    place.ok(&["template", "export", "fedora-42", "whole.yaml"]);
    place.ok(&["template", "validate", "whole.yaml", "./whole.yaml"]);
    fs::write(place.file("bytes.yaml"), [0xff, 0xfe]).unwrap();
    fs::create_dir(place.file("directory.yaml")).unwrap();
    fs::write(place.file("large.yaml"), "#".repeat((1 << 20) + 1)).unwrap();
    let made = Command::new("mkfifo").arg(place.file("pipe.yaml")).status();
    assert!(made.unwrap().success());
    fs::write(place.file("empty.yaml"), "").unwrap();
    for (which, words) in [
        ("none.yaml", "there is no"),
        ("bytes.yaml", "UTF-8"),
        ("directory.yaml", "regular file"),
        ("pipe.yaml", "regular file"),
        ("large.yaml", "too large"),
        ("empty.yaml", "mapping"),
        ("./none", "there is no"),
        ("nope", "no template `nope`"),
        ("debain-12", "`debian-12`"),
        ("a b", "invalid template name"),
    ] {
        let ran = place.run(&["template", "validate", which, "whole.yaml"]);
        assert_eq!(ran.code, Some(1), "{which}: {ran:#?}");
        assert!(ran.stdout.contains(words), "{which}: {ran:#?}");
        assert!(ran.stdout.contains("whole.yaml: ok"), "{which}: {ran:#?}");
    }
}
