//! What is taken as a name is harmless wherever it goes, and is the same text again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lxc_dev_manager_core::model::{
    ByteSize, EnvName, ImageName, InstanceName, ProjectName, RemoteName, SnapshotName, UserName,
    VariableName, parse_port_list,
};
use lxc_dev_manager_core::project::File;
use lxc_dev_manager_core::provision::Password;

fuzz_target!(|text: &str| {
    // Words in a path, a URL, an argument vector, a line of /etc/passwd, a shell, a terminal.
    let harmless = |name: &str| {
        assert_eq!(name, text);
        assert!(!name.is_empty() && !name.starts_with('-') && name != "." && name != "..");
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)),
            "{name:?}"
        );
    };
    if let Ok(name) = EnvName::parse(text) {
        harmless(name.as_str());
        let file = File::parse(&format!("containers:\n  \"{name}\": {{image: x}}\n"));
        assert_eq!(
            file.expect("a file with that env").env_names(),
            [name.clone()]
        );
        if let Ok(instance) = InstanceName::of(None, &name) {
            assert_eq!(instance.as_str(), text);
        }
    }
    if let Ok(name) = ProjectName::parse(text) {
        assert!(
            name.as_str()
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        );
    }
    if let Ok(name) = SnapshotName::parse(text) {
        harmless(name.as_str());
    }
    if let Ok(name) = InstanceName::parse(text) {
        harmless(name.as_str());
        assert!(name.as_str().len() <= 63);
    }
    if let Ok(name) = UserName::parse(text) {
        harmless(name.as_str());
        assert!(name.as_str().len() <= 32);
    }
    if let Ok(name) = VariableName::parse(text) {
        harmless(name.as_str());
    }
    for name in [
        ImageName::parse(text).map(|name| name.to_string()),
        RemoteName::parse(text).map(|name| name.to_string()),
    ] {
        if let Ok(name) = name {
            assert!(name == text && !name.starts_with('-') && !name.contains(char::is_control));
        }
    }
    if let Ok(size) = ByteSize::parse(text) {
        assert_eq!(
            ByteSize::parse(&size.to_string()).expect("its own text"),
            size
        );
    }
    if let Ok(ports) = parse_port_list(text) {
        let again: Vec<String> = ports.iter().map(ToString::to_string).collect();
        assert_eq!(
            parse_port_list(&again.join(",")).expect("its own text"),
            ports
        );
    }
    if Password::parse(text).is_ok() {
        assert!(!text.contains(char::is_control) && text.len() <= 200);
    }
});
