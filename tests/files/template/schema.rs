//! Templates and machines' settings beside the shape that Lima's own have (`lima.schema.json`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jsonschema::Validator;
use lxc_dev_manager_core::backend::Mount;
use lxc_dev_manager_core::model::{ByteSize, GuestPort, HostPort, Limits};
use lxc_dev_manager_core::template::{
    Arch, Change, Forwarding, ImageFile, Level, MachineSpec, Template, Templates, Vm, change,
    check, instance_yaml, read_settings,
};
use serde_json::Value;

const SCHEMA: &str = include_str!("lima.schema.json");

fn validator() -> Validator {
    jsonschema::validator_for(&serde_json::from_str(SCHEMA).unwrap()).unwrap()
}

/// What the schema has against a text.
fn complaints(text: &str) -> Vec<String> {
    let value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
    let value = serde_json::to_value(value).unwrap();
    let validator = validator();
    let errors = validator.iter_errors(&value);
    errors
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

fn assert_good(text: &str, what: &str) {
    let wrong = complaints(text);
    assert!(wrong.is_empty(), "{what}: {wrong:?}\n{text}");
    assert!(check(text).is_empty(), "{what}: {:?}", check(text));
}

fn built_in() -> Vec<Template> {
    let templates = Templates::new("/nonexistent".into());
    let all = templates.list().unwrap();
    all.iter()
        .map(|info| templates.get(&info.name).unwrap())
        .collect()
}

fn mount(host: &str) -> Mount {
    Mount {
        host: host.into(),
        guest: "/work".into(),
        readonly: true,
    }
}

fn guests() -> Vec<MachineSpec> {
    let limits = Limits {
        cpus: Some(2),
        memory: Some(ByteSize(1_000_000_007)),
        disk: Some(ByteSize(20 << 30)),
    };
    let (guest, host) = (GuestPort::new(65535).unwrap(), HostPort::new(8080).unwrap());
    vec![
        MachineSpec::default(),
        MachineSpec {
            limits,
            mounts: vec![mount("/src/it's: #1"), mount("/srv")],
            image: Some(ImageFile {
                location: PathBuf::from("/images/a b.raw"),
                arch: Arch::Aarch64,
            }),
            vm: Some(Vm::Vz),
            rosetta: true,
            ports: Forwarding::Native(vec![(guest, host)]),
            ..MachineSpec::default()
        },
        MachineSpec {
            user: "dev".parse().unwrap(),
            vm: Some(Vm::Qemu),
            ..MachineSpec::default()
        },
    ]
}

#[test]
fn built_in_templates_and_their_machines_match_limas_schema() {
    for template in built_in() {
        assert_good(&template.text, template.name.as_str());
        assert_good(&template.standalone_yaml().unwrap(), template.name.as_str());
        for guest in guests() {
            let yaml = instance_yaml(&template, &guest).unwrap();
            assert_good(&yaml, template.name.as_str());
            let changed = change(
                &yaml,
                &Change {
                    limits: guest.limits,
                    mounts: vec![mount("/other")],
                    ..Change::default()
                },
            )
            .unwrap();
            assert_good(&changed, template.name.as_str());
        }
    }
}

/// A template that says something under each key that ours touch.
const FULL: &str = "vmOpts: {qemu: {minimumVersion: 8.2.1}}\nmounts: [{location: /opt}]\n\
    images: [{location: 'https://x/y', arch: x86_64, digest: 'sha256:00'}]\n\
    networks: [{lima: shared}]\nuser: {comment: me, shell: /bin/zsh}\nparam: {a: b}\n\
    ssh: {forwardAgent: true}\ncontainerd: {archives: []}\n\
    provision: [{mode: system, script: 'echo \"$(id)\" `id` {{.Param.a}}'}]\n\
    portForwards: [{guestSocket: /run/x.sock, hostSocket: x.sock}]\n";

#[test]
fn other_keys_of_a_template_match_limas_schema() {
    let mut template = Templates::built_in(&"debian-12".parse().unwrap()).unwrap();
    template.text = FULL.to_owned();
    let before: serde_yaml::Value = serde_yaml::from_str(FULL).unwrap();
    for guest in guests() {
        let yaml = instance_yaml(&template, &guest).unwrap();
        assert_good(&yaml, "full");
        let now: serde_yaml::Value = serde_yaml::from_str(&yaml).unwrap();
        for key in ["networks", "param", "provision"] {
            assert_eq!(now[key], before[key], "{key}");
        }
        assert_eq!(now["user"]["shell"], before["user"]["shell"]);
        assert_eq!(now["vmOpts"]["qemu"], before["vmOpts"]["qemu"]);
        assert_eq!(now["ssh"]["forwardAgent"], true);
        assert_eq!(
            now["portForwards"]
                .as_sequence()
                .unwrap()
                .iter()
                .filter(|rule| rule["guestSocket"].is_string())
                .count(),
            1
        );
        assert_eq!(
            read_settings(&yaml).unwrap().mounts[0].host,
            Path::new("/opt")
        );
    }
}

#[test]
fn schema_violations_are_rejected() {
    for text in [
        "cpus: 2",
        "images: []",
        "images: {location: /x}",
        "images: [{arch: x86_64}]",
        "images: [{location: /x, arch: amd64}]",
        "images: [{location: /x}]\ncpus: 0",
        "images: [{location: /x}]\ncpus: two",
        "images: [{location: /x}]\nmemory: lots",
        "images: [{location: /x}]\ndisk: []",
        "images: [{location: /x}]\nmounts: /home",
        "images: [{location: /x}]\nplain: 1",
        "images: [{location: /x}]\nuser: me",
        "images: [{location: /x}]\nvmType: []",
        "images: [{location: /x}]\nprovision: [{mode: sytem, script: x}]",
    ] {
        assert!(!complaints(text).is_empty(), "the schema takes {text}");
        let errors = check(text);
        let refused = errors.iter().any(|problem| problem.level == Level::Error);
        assert!(refused, "`check` takes {text}: {errors:?}");
    }
}

#[test]
fn schema_and_check_have_the_same_keys() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let keys: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    for key in keys {
        let text = format!("{key}: null\nbase: x\n");
        let text = if key == "base" {
            "base: x\n".to_owned()
        } else {
            text
        };
        assert!(check(&text).is_empty(), "{key}: {:?}", check(&text));
    }
    assert_eq!(schema["properties"].as_object().unwrap().len(), 42);
    assert!(!complaints("base: x\ncpu: 2\n").is_empty());
    assert_eq!(check("base: x\ncpu: 2\n").len(), 1);
}

#[test]
fn doc_examples_match_limas_schema() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/templates.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> = text
        .split("```yml\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert_good(block, "docs/templates.md");
    }
}
