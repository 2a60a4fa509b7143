//! The private engines of `tests/engines/engines.sh`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::lxc::LxcBackend;
use lxc_dev_manager_core::model::{EngineKind, EngineProject};

#[derive(Debug, Clone)]
pub struct TestEngine {
    pub kind: EngineKind,
    pub socket: PathBuf,
}

impl TestEngine {
    /// Prefix of test names.
    pub fn label(&self) -> &'static str {
        if self.kind == EngineKind::Lxd {
            "lxd"
        } else {
            "incus"
        }
    }

    /// Environment variable that selects it.
    pub fn variable(&self) -> &'static str {
        if self.kind == EngineKind::Lxd {
            "LXD_SOCKET"
        } else {
            "INCUS_SOCKET"
        }
    }

    pub fn backend(&self) -> Arc<dyn Backend> {
        let project = EngineProject::parse("default").unwrap();
        Arc::new(LxcBackend::new(self.kind, self.socket.clone(), project))
    }
}

/// Settings from the environment, or from the file that `make engines` wrote.
pub fn setting(name: &str) -> Option<String> {
    if let Ok(value) = std::env::var(name) {
        return Some(value);
    }
    let directory =
        std::env::var("LDM_TEST_DIR").unwrap_or_else(|_| "/var/tmp/ldm-test".to_owned());
    let text = std::fs::read_to_string(PathBuf::from(directory).join("engines.env")).ok()?;
    let pairs: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    pairs.get(name).map(|value| (*value).to_owned())
}

/// Test image with sshd and sudo.
pub fn image() -> String {
    setting("LDM_TEST_IMAGE").unwrap_or_else(|| "debian/12".to_owned())
}

/// Test image with Docker.
pub fn docker_image() -> String {
    setting("LDM_TEST_DOCKER_IMAGE").unwrap_or_else(|| "debian/12-docker".to_owned())
}

/// Minimal image: busybox, sshd and sudo; no bash, systemd or package manager.
pub fn busybox_image() -> String {
    setting("LDM_TEST_BUSYBOX_IMAGE").unwrap_or_else(|| "ldm-busybox".to_owned())
}

/// Test image with python3 and perl.
pub fn tools_image() -> String {
    setting("LDM_TEST_TOOLS_IMAGE").unwrap_or_else(|| "debian/12-tools".to_owned())
}

/// Running engines, and the labels of missing ones. With `CI` set, missing engines are fatal.
pub fn find() -> (Vec<TestEngine>, Vec<&'static str>) {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (label, variable, kind) in [
        ("lxd", "LDM_TEST_LXD_SOCKET", EngineKind::Lxd),
        ("incus", "LDM_TEST_INCUS_SOCKET", EngineKind::Incus),
    ] {
        let socket = setting(variable).map(PathBuf::from);
        match socket.filter(|path| std::os::unix::net::UnixStream::connect(path).is_ok()) {
            Some(socket) => found.push(TestEngine { kind, socket }),
            None => missing.push(label),
        }
    }
    if std::env::var_os("CI").is_some() && !missing.is_empty() {
        eprintln!("these engines don't run: {missing:?}; start them: make engines");
        std::process::exit(101);
    }
    (found, missing)
}
