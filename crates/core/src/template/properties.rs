//! Property tests: values stay values in generated YAML, whatever they contain.

use std::path::PathBuf;

use proptest::prelude::*;
use serde_yaml::{Mapping, Value};

use super::settings::{mapping, write};
use super::{
    Arch, Change, Forwarding, ImageFile, MachineSpec, Template, Templates, Vm, change,
    instance_yaml, read_settings,
};
use crate::backend::Mount;
use crate::model::{ByteSize, GuestPort, HostPort, Limits};

/// Text with a meaning in YAML, shells or Go templates.
fn words() -> impl Strategy<Value = String> {
    let odd = proptest::sample::select(vec![
        "'",
        "\"",
        "$(id)",
        "`id`",
        "\n",
        "\r\n",
        "\t",
        ": ",
        "- ",
        " #",
        "{{.Param.x}}",
        "{{",
        "}}",
        "{ {",
        "&a",
        "*a",
        "!!str",
        "|",
        ">-",
        "%s",
        "\\",
        "~",
        "null",
        "yes",
        "0x10",
        "---\n",
        "...\n",
        "\u{0}",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "ä",
        "🦀",
        " ",
    ]);
    let any = any::<String>();
    let piece = prop_oneof![3 => odd.prop_map(str::to_owned), 1 => any];
    let few = proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    prop_oneof![9 => few, 1 => "[a-z ]{2000,4000}"]
}

/// A path that Lima doesn't expand.
fn path() -> impl Strategy<Value = PathBuf> {
    let literal = words().prop_filter("Lima would expand it", |text| !text.contains("{{"));
    literal.prop_map(|text| format!("/{text}").into())
}

fn mounts() -> impl Strategy<Value = Vec<Mount>> {
    let mount = (path(), path(), any::<bool>()).prop_map(|(host, guest, readonly)| Mount {
        host,
        guest,
        readonly,
    });
    proptest::collection::vec(mount, 1..4).prop_filter("duplicates are merged", |all| {
        all.iter()
            .all(|one| all.iter().filter(|other| *other == one).count() == 1)
    })
}

fn limits() -> impl Strategy<Value = Limits> {
    let size = || proptest::option::of((1..u64::MAX).prop_map(ByteSize));
    (proptest::option::of(1..u32::MAX), size(), size()).prop_map(|(cpus, memory, disk)| Limits {
        cpus,
        memory,
        disk,
    })
}

/// A template that contains `text` as a script and in other keys.
fn template(text: &str) -> Template {
    let mut template = Templates::built_in(&"debian-12".parse().unwrap()).unwrap();
    let mut all = mapping("images: [{location: /image}]\nprovision: [{mode: system}]\n").unwrap();
    all["provision"][0]["script"] = text.into();
    for key in ["message", "x-unknown"] {
        all.insert(key.into(), text.into());
    }
    all.insert(
        "env".into(),
        Mapping::from_iter([("X".into(), text.into())]).into(),
    );
    template.text = write(&all).unwrap();
    template
}

fn without(all: &Mapping, keys: &[&str]) -> Mapping {
    let rest = all
        .iter()
        .filter(|(key, _)| !keys.contains(&key.as_str().unwrap()));
    rest.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

proptest! {
    #[test]
    fn requested_settings_are_read_back_and_others_unchanged(
        text in words(), mounts in mounts(), limits in limits(), image in path(),
        port in 1..u16::MAX,
    ) {
        let template = template(&text);
        let plain = mapping(&instance_yaml(&template, &MachineSpec::default()).unwrap()).unwrap();
        let ports = vec![(GuestPort::new(port).unwrap(), HostPort::new(port).unwrap())];
        let spec = MachineSpec {
            limits,
            mounts: mounts.clone(),
            image: Some(ImageFile { location: image.clone(), arch: Arch::X86_64 }),
            vm: Some(Vm::Qemu),
            ports: Forwarding::Native(ports),
            ..MachineSpec::default()
        };
        let yaml = instance_yaml(&template, &spec).unwrap();
        let parsed = read_settings(&yaml).unwrap();
        prop_assert_eq!(parsed.mounts, mounts);
        let all = mapping(&yaml).unwrap();
        let location = all["images"][0]["location"].as_str();
        prop_assert_eq!(location, image.to_str());
        for (requested, got) in [(limits.memory, parsed.limits.memory), (limits.disk, parsed.limits.disk)] {
            prop_assert!(requested.is_none() || requested == got, "{:?} {:?}", requested, got);
        }
        prop_assert!(limits.cpus.is_none() || limits.cpus == parsed.limits.cpus);
        prop_assert_eq!(&all["portForwards"][0]["guestPort"], &Value::from(port));
        prop_assert_eq!(all["provision"][0]["script"].as_str(), Some(text.as_str()));
        let changed_keys = ["cpus", "memory", "disk", "mounts", "images", "vmType", "portForwards"];
        prop_assert_eq!(without(&all, &changed_keys), without(&plain, &changed_keys));
    }

    #[test]
    fn change_affects_limits_and_mounts_only(
        text in words(), mounts in mounts(), limits in limits(),
    ) {
        // With comments, as in a hand-written file.
        let before = format!("# mine\n{}cpus: 1 # one\nmounts: []\n", template(&text).text);
        let wanted = Change { limits, mounts: mounts.clone(), ..Change::default() };
        let after = change(&before, &wanted).unwrap();
        let parsed = read_settings(&after).unwrap();
        prop_assert_eq!(parsed.mounts, mounts);
        prop_assert_eq!(parsed.limits.cpus, limits.cpus.or(Some(1)));
        prop_assert_eq!((parsed.limits.memory, parsed.limits.disk), (limits.memory, limits.disk));
        let changed_keys = ["cpus", "memory", "disk", "mounts"];
        let (before, now) = (mapping(&before).unwrap(), mapping(&after).unwrap());
        prop_assert_eq!(without(&now, &changed_keys), without(&before, &changed_keys));
    }

    #[test]
    fn rejects_paths_that_lima_would_expand(text in words(), position in 0..3_usize) {
        let odd = PathBuf::from(format!("/{text}{{{{.Dir}}}}"));
        let at = |here: usize| if here == position { odd.clone() } else { PathBuf::from("/fine") };
        let spec = MachineSpec {
            mounts: vec![Mount { host: at(0), guest: at(1), readonly: true }],
            image: Some(ImageFile { location: at(2), arch: Arch::X86_64 }),
            ..MachineSpec::default()
        };
        prop_assert!(instance_yaml(&template(""), &spec).is_err());
    }
}
