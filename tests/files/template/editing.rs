//! `template edit`

use std::fs;
use std::path::PathBuf;

use lxc_dev_manager_tests::workspace::Ran;
use rustix::process::{Pid, Signal, kill_process};

use super::place::{Place, expect};

const APPEND: &str = "echo 'cpus: 2' >>\"$1\"\n";
const BREAK: &str = "echo 'cpus: many' >>\"$1\"\n";

/// The file that a message names as the one with what was written.
fn kept(text: &str) -> PathBuf {
    let (_, rest) = text.split_once("your changes are in ").unwrap();
    rest.split_whitespace().next().unwrap().into()
}

#[test]
fn editing_a_built_in_template_copies_it() {
    let place = Place::new();
    let ran: Ran = place.edit("debian-12", APPEND).output().unwrap().into();
    expect(&ran, 0, &[]);
    assert!(
        ran.stdout
            .contains(place.own("debian-12").to_str().unwrap()),
        "{ran:?}"
    );
    assert_eq!(place.files(), ["debian-12.yaml"]);
    let text = fs::read_to_string(place.own("debian-12")).unwrap();
    assert!(text.contains("bookworm") && text.ends_with("cpus: 2\n"));
    let shown = place.json(&["template", "show", "debian-12"]);
    assert_eq!(shown["origin"], "replaced");
}

#[test]
fn unchanged_template_stays_built_in() {
    let place = Place::new();
    for script in ["", "cp \"$1\" \"$1.new\" && mv \"$1.new\" \"$1\"\n"] {
        let ran: Ran = place.edit("debian-12", script).output().unwrap().into();
        expect(&ran, 0, &[]);
        assert!(ran.stdout.contains("is unchanged"), "{ran:?}");
        assert!(place.files().is_empty(), "{:?}", place.files());
    }
}

#[test]
fn unusable_edit_is_kept_next_to_the_template() {
    let place = Place::new();
    place.ok(&["template", "new", "mine"]);
    let before = fs::read(place.own("mine")).unwrap();
    for (script, words) in [
        (
            BREAK,
            &["mine:", "invalid `cpus`: expected a positive number"][..],
        ),
        ("printf 'a: [' >\"$1\"\n", &["invalid YAML"]),
        ("printf '\\377' >\"$1\"\n", &["cannot read"]),
        (": >\"$1\"\n", &["mapping"]),
    ] {
        let ran: Ran = place.edit("mine", script).output().unwrap().into();
        expect(&ran, 1, &["cannot edit template `mine`"]);
        expect(&ran, 1, words);
        let kept = kept(&ran.stderr);
        assert!(kept.is_file(), "{ran:?}");
        assert_eq!(fs::read(place.own("mine")).unwrap(), before, "{script}");
        fs::remove_file(kept).unwrap();
    }
    let quiet: Ran = place.edit("mine", BREAK).arg("-q").output().unwrap().into();
    expect(&quiet, 1, &["invalid template: line", "`cpus`"]);
    fs::remove_file(kept(&quiet.stderr)).unwrap();
    assert_eq!(place.files(), ["mine.yaml"]);
    let list = place.json(&["template", "list"]);
    assert_eq!(list["templates"][0]["name"], "mine");
}

#[test]
fn unknown_key_is_reported_and_saved() {
    let place = Place::new();
    let ran: Ran = place
        .edit("debian-12", "echo 'cpu: 2' >>\"$1\"\n")
        .output()
        .unwrap()
        .into();
    expect(&ran, 0, &["warning: unknown key `cpu`", "`cpus`"]);
    assert_eq!(place.files(), ["debian-12.yaml"]);
}

#[test]
fn invalid_template_is_edited_again_on_a_terminal() {
    let place = Place::new();
    // The first time it breaks it, the second time it fixes it.
    let script = format!(
        "if grep -q many \"$1\"; then sed -i s/many/3/ \"$1\"; else {}fi\n",
        BREAK.replace('\n', "; ")
    );
    let mut asked = place.on_terminal(place.edit("debian-12", &script));
    asked.until("[y/N]").unwrap();
    asked.say("y").unwrap();
    let (code, seen) = asked.end().unwrap();
    assert_eq!(code, Some(0), "{seen}");
    assert!(
        fs::read_to_string(place.own("debian-12"))
            .unwrap()
            .ends_with("cpus: 3\n")
    );
    let mut asked = place.on_terminal(place.edit("debian-13", BREAK));
    asked.until("[y/N]").unwrap();
    asked.say("n").unwrap();
    let (code, seen) = asked.end().unwrap();
    assert_eq!(code, Some(1), "{seen}");
    assert!(kept(&seen).is_file(), "{seen}");
    assert!(!place.own("debian-13").exists());
}

#[test]
fn interrupted_question_keeps_the_draft() {
    let place = Place::new();
    let mut asked = place.on_terminal(place.edit("debian-12", BREAK));
    asked.until("[y/N]").unwrap();
    let child = Pid::from_child(&asked.child);
    kill_process(child, Signal::INT).unwrap();
    let (code, seen) = asked.end().unwrap();
    assert_eq!(code, Some(1), "{seen}");
    assert!(kept(&seen).is_file(), "{seen}");
    assert!(!place.own("debian-12").exists());
}

#[test]
fn failed_editor_changes_nothing() {
    let place = Place::new();
    let ran: Ran = place.edit("debian-12", "exit 3\n").output().unwrap().into();
    expect(&ran, 1, &["editor `sh` failed:", "3"]);
    assert!(place.files().is_empty(), "{:?}", place.files());
    let script = format!("{APPEND}exit 3\n");
    let ran: Ran = place.edit("debian-12", &script).output().unwrap().into();
    expect(&ran, 1, &["failed:"]);
    assert!(
        fs::read_to_string(kept(&ran.stderr))
            .unwrap()
            .ends_with("cpus: 2\n")
    );
    assert!(!place.own("debian-12").exists());
    // It may take the file away, too.
    let ran: Ran = place
        .edit("debian-13", "rm \"$1\"\n")
        .output()
        .unwrap()
        .into();
    expect(&ran, 1, &["cannot read"]);
    assert!(!ran.stderr.contains("your changes"), "{ran:?}");
}

#[test]
fn missing_editor_is_reported() {
    let place = Place::new();
    let with = |name: &str, value: &str| -> Ran {
        let mut command = place.command(&["template", "edit", "debian-12"]);
        command.env(name, value).output().unwrap().into()
    };
    let ran = with("VISUAL", "/nowhere/editor --wait");
    expect(&ran, 1, &["cannot start editor `/nowhere/editor`", "hint:"]);
    expect(&with("EDITOR", "'vi"), 1, &["invalid value of $EDITOR"]);
    place.fails(
        1,
        &["template", "edit", "debian-12"],
        &["no editor is set", "EDITOR="],
    );
    let directory = place.file("");
    let ran = with("EDITOR", &format!("'{}'", directory.display()));
    expect(&ran, 1, &["cannot start editor"]);
    assert!(place.files().is_empty(), "{:?}", place.files());
}

#[test]
fn concurrent_change_is_not_overwritten() {
    let place = Place::new();
    place.ok(&["template", "new", "mine"]);
    let script = format!(
        "{APPEND}echo 'cpus: 7' >>'{}'\n",
        place.own("mine").display()
    );
    let ran: Ran = place.edit("mine", &script).output().unwrap().into();
    expect(&ran, 1, &["changed by another process"]);
    assert!(
        fs::read_to_string(place.own("mine"))
            .unwrap()
            .ends_with("cpus: 7\n")
    );
    assert!(
        fs::read_to_string(kept(&ran.stderr))
            .unwrap()
            .ends_with("cpus: 2\n")
    );
}

#[test]
fn invalid_template_can_be_corrected() {
    let place = Place::new();
    place.write_own("mine", b"images: [{location: /x}]\ncpus: many\n");
    let fix = "sed -i s/many/3/ \"$1\"\n";
    let ran: Ran = place.edit("mine", fix).output().unwrap().into();
    expect(&ran, 0, &[]);
    let shown = place.ok(&["template", "show", "mine"]);
    assert_eq!(shown, "images: [{location: /x}]\ncpus: 3\n");
}
