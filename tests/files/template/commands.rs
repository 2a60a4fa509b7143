//! `template list | show | new | delete | export`

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lxc_dev_manager_core::template::{Templates, read_settings};

use super::place::Place;

#[test]
fn list_shows_the_origin_of_each_template() {
    let place = Place::new();
    let built_in = Templates::new(place.directory()).list().unwrap().len();
    place.ok(&["template", "new", "debian-12"]);
    place.ok(&["template", "new", "my-base", "--from", "alpine-3.22"]);
    place.write_own("broken", b"images: [\n");
    let list = place.json(&["template", "list"]);
    let all = list["templates"].as_array().unwrap();
    assert_eq!(all.len(), built_in + 2);
    let of = |name: &str| all.iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(of("debian-12")["origin"], "replaced");
    assert_eq!(of("my-base")["origin"], "user");
    assert_eq!(
        of("my-base")["path"].as_str(),
        place.own("my-base").to_str()
    );
    let ubuntu = of("ubuntu-24.04");
    assert_eq!(ubuntu["origin"], "built-in");
    assert_eq!(ubuntu["arches"][0], "aarch64");
    assert_eq!(ubuntu["arches"][1], "x86_64");
    assert!(ubuntu["path"].is_null() && ubuntu["problem"].is_null());
    assert!(of("broken")["problem"].as_str().unwrap().contains("YAML"));
    let text = place.ok(&["template", "ls"]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line("debian-12").contains("replaces built-in"));
    assert!(line("fedora-42").contains("built-in"));
    assert!(line("broken").contains("line"));
}

#[test]
fn template_is_shown_unchanged() {
    let place = Place::new();
    let shown = place.ok(&["template", "show", "debian-13"]);
    let built_in = Templates::built_in(&"debian-13".parse().unwrap()).unwrap();
    assert_eq!(shown, built_in.text);
    let data = place.json(&["template", "show", "debian-13"]);
    assert_eq!(data["text"].as_str(), Some(shown.as_str()));
    place.fails(
        1,
        &["template", "show", "debain-13"],
        &["no template `debain-13`", "hint:", "`debian-13`"],
    );
}

#[test]
fn new_template_is_private_and_replaces_nothing() {
    let place = Place::new();
    let made = place.ok(&["template", "new", "my-base"]);
    assert!(made.contains("ubuntu-24.04") && made.contains("container create ENV my-base"));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.own("my-base")), 0o600);
    assert_eq!(mode(place.directory()), 0o700);
    let before = fs::read(place.own("my-base")).unwrap();
    for name in ["my-base", "My-Base"] {
        place.fails(
            1,
            &["template", "new", name, "--from", "debian-12"],
            &["already", "edit my-base"],
        );
    }
    // On a Mac it would be the built-in one's file.
    place.fails(1, &["template", "new", "Debian-12"], &["`debian-12`"]);
    place.fails(
        1,
        &["template", "new", "x", "--from", "nope"],
        &["no template `nope`"],
    );
    place.write_own("broken", b"images: [\n");
    place.fails(
        1,
        &["template", "new", "x", "--from", "broken"],
        &["cannot create template `x`", "line"],
    );
    assert_eq!(place.files(), ["broken.yaml", "my-base.yaml"]);
    assert_eq!(fs::read(place.own("my-base")).unwrap(), before);
}

#[test]
fn names_stay_below_their_directory() {
    let place = Place::new();
    for kind in ["show", "new", "edit", "delete", "export"] {
        for name in ["../x", "a/b", ".hidden", "", "a b", "$(id)"] {
            place.fails(2, &["template", kind, name], &["invalid template name"]);
        }
    }
    assert!(place.files().is_empty());
}

#[test]
fn only_user_templates_are_deleted() {
    let place = Place::new();
    place.ok(&["template", "new", "debian-12", "--from", "debian-13"]);
    place.fails(1, &["template", "delete", "debian-12"], &["`-f`"]);
    assert_eq!(place.files(), ["debian-12.yaml"]);
    for (answer, code, left) in [("n", 1, 1), ("y", 0, 0)] {
        let command = place.command(&["template", "rm", "debian-12"]);
        let mut asked = place.on_terminal(command);
        asked.until("[y/N]").unwrap();
        asked.say(answer).unwrap();
        let (ended, seen) = asked.end().unwrap();
        assert_eq!(ended, Some(code), "{seen}");
        assert_eq!(place.files().len(), left, "{seen}");
        assert_eq!(seen.contains("is used again"), code == 0, "{seen}");
    }
    place.fails(1, &["template", "delete", "debian-12"], &["built-in"]);
    place.fails(
        1,
        &["template", "delete", "-f", "nope"],
        &["no template `nope`"],
    );
    // What can't be read can be deleted.
    place.write_own("broken", &[0xff, 0xfe]);
    let gone = place.json(&["template", "delete", "-f", "broken"]);
    assert_eq!(gone["built_in_again"], false);
    fs::create_dir_all(place.own("odd")).unwrap();
    place.fails(1, &["template", "delete", "-f", "odd"], &["cannot delete"]);
    assert_eq!(place.files(), ["odd.yaml"]);
}

#[test]
fn exported_template_is_complete_and_replaces_nothing() {
    let place = Place::new();
    let printed = place.ok(&["template", "export", "alpine-3.22"]);
    assert!(printed.starts_with("# Alpine 3.22\n"), "{printed}");
    let seen = read_settings(&printed).unwrap();
    assert_eq!(seen.limits.cpus, Some(4));
    assert!(seen.mounts.is_empty() && seen.arches.len() == 2);
    place.ok(&["template", "export", "alpine-3.22", "a.yaml"]);
    assert_eq!(fs::read_to_string(place.file("a.yaml")).unwrap(), printed);
    fs::write(place.file("a.yaml"), "mine").unwrap();
    std::os::unix::fs::symlink("nowhere", place.file("link")).unwrap();
    for file in ["a.yaml", "link"] {
        place.fails(
            1,
            &["template", "export", "alpine-3.22", file],
            &["already exists", "`-f`"],
        );
    }
    assert_eq!(fs::read_to_string(place.file("a.yaml")).unwrap(), "mine");
    place.ok(&["template", "export", "-f", "alpine-3.22", "a.yaml"]);
    assert_eq!(fs::read_to_string(place.file("a.yaml")).unwrap(), printed);
    fs::create_dir(place.file("directory")).unwrap();
    place.fails(
        1,
        &["template", "export", "-f", "alpine-3.22", "directory"],
        &["is not a regular file"],
    );
    place.fails(
        1,
        &["template", "export", "alpine-3.22", "no/such/file"],
        &["cannot write"],
    );
    let data = place.json(&["template", "export", "alpine-3.22"]);
    assert_eq!(data["text"].as_str(), Some(printed.as_str()));
}
