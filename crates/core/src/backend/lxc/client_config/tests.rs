//! Valid and invalid configurations of the clients.

use super::*;

struct TestHome {
    root: tempfile::TempDir,
    environment: HostEnvironment,
}

fn test_home() -> TestHome {
    let root = tempfile::tempdir().unwrap();
    let mut environment = HostEnvironment {
        home: Some(root.path().join("home")),
        ..HostEnvironment::default()
    };
    environment.lxd.global_conf = Some(root.path().join("etc"));
    environment.incus.global_conf = Some(root.path().join("etc"));
    TestHome { root, environment }
}

impl TestHome {
    fn write(&self, directory: &str, text: &str) {
        let directory = self.root.path().join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(FILE), text).unwrap();
    }

    fn load(&self, kind: EngineKind) -> Result<ClientConfig> {
        ClientConfig::load(kind, &self.environment)
    }
}

const LAB: &str = "default-remote: lab
remotes:
  images:
    addr: https://images.example.org/
    protocol: simplestreams
    public: true
  lab:
    addr: https://lab.example.org:8443
    auth_type: tls
    project: web
    protocol: lxd
    public: false
  local:
    addr: unix://
    project: mine
    public: false
aliases: {}
";

#[test]
fn only_local_without_a_file() {
    let config = test_home().load(EngineKind::Incus).unwrap();
    assert_eq!(config.default_remote, LOCAL);
    assert_eq!(config.engines().len(), 1);
    assert_eq!(config.project(LOCAL).unwrap(), None);
}

#[test]
fn reads_remotes_default_and_projects() {
    let home = test_home();
    home.write("home/.config/lxc", LAB);
    let config = home.load(EngineKind::Lxd).unwrap();
    assert_eq!(config.default_remote, "lab");
    let names: Vec<String> = config.engines().iter().map(ToString::to_string).collect();
    assert_eq!(names, [LOCAL, "lab"]);
    let lab = config.remote("lab").unwrap();
    let host = "lab.example.org".to_owned();
    assert_eq!(lab.address().unwrap(), Address::Https { host, port: 8443 });
    assert_eq!(config.project("lab").unwrap().unwrap().as_str(), "web");
    assert_eq!(config.project(LOCAL).unwrap().unwrap().as_str(), "mine");
    let images = config.remote("images").unwrap();
    assert_eq!(images.protocol, Protocol::Simplestreams);
    assert_eq!(images.url(), "https://images.example.org");
}

#[test]
fn reads_the_snaps_directory_and_the_systems_remotes() {
    let home = test_home();
    home.write("home/snap/lxd/common/config", LAB);
    home.write(
            "etc",
            "default-remote: nope\nremotes:\n  lab: {addr: 'https://other:1'}\n  all: {addr: 'https://all:1'}\n",
        );
    let config = home.load(EngineKind::Lxd).unwrap();
    assert_eq!(config.default_remote, "lab");
    let lab = config.remote("lab").unwrap();
    assert_eq!(lab.url(), "https://lab.example.org:8443");
    let all = config.remote("all").unwrap();
    assert_eq!(all.directory, home.root.path().join("etc"));
    assert_eq!(all.protocol, Protocol::Engine("lxd".to_owned()));
}

#[test]
fn environment_overrides_the_file() {
    let mut home = test_home();
    home.write("home/.config/incus", LAB);
    home.environment.incus.remote = Some(LOCAL.to_owned());
    home.environment.incus.project = Some("other".to_owned());
    let config = home.load(EngineKind::Incus).unwrap();
    assert_eq!(config.default_remote, LOCAL);
    assert_eq!(config.project("lab").unwrap().unwrap().as_str(), "other");
    home.write("conf", "default-remote: x\n");
    home.environment.incus.remote = None;
    home.environment.incus.conf = Some(home.root.path().join("conf"));
    assert_eq!(home.load(EngineKind::Incus).unwrap().default_remote, "x");
}

#[test]
fn invalid_file_is_reported_with_its_line() {
    let home = test_home();
    for (text, line) in [
        ("remotes:\n  a: {addr: [1]}\n", "line 2"),
        ("remotes: [\n", "line 1"),
        ("remotes:\n  a:\n    public: true\n", "line 3"),
        (
            "remotes:\n  a:\n    addr: x\n    public: perhaps\n",
            "line 4",
        ),
    ] {
        home.write("home/.config/incus", text);
        let error = home.load(EngineKind::Incus).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        let message = error.report().message;
        assert!(message.contains("incus/config.yml"), "{message}");
        assert!(message.contains(line), "{text}: {message}");
    }
    for blank in ["", "# nothing\n", "---\n"] {
        home.write("home/.config/incus", blank);
        assert!(home.load(EngineKind::Incus).is_ok(), "{blank:?}");
    }
}

#[test]
fn accepts_only_socket_and_https_addresses() {
    let of = |address: &str| {
        let raw = RawRemote {
            addr: address.to_owned(),
            last_working_address: Some("https://b:2".to_owned()),
            protocol: None,
            public: false,
            project: None,
            auth_type: None,
        };
        let file = ReadFile {
            path: "/c.yml".into(),
            text: format!("remotes:\n  x: {{addr: \"{address}\"}}\n"),
        };
        Remote::new(EngineKind::Incus, raw, Path::new("/"), &file).address()
    };
    let https = |host: &str, port| Address::Https {
        host: host.to_owned(),
        port,
    };
    assert_eq!(of("unix://").unwrap(), Address::Socket(None));
    let socket = Address::Socket(Some("/srv/x.sock".into()));
    assert_eq!(of("unix:///srv/x.sock").unwrap(), socket);
    assert_eq!(of("unix:/srv/x.sock").unwrap(), socket);
    assert_eq!(of("https://[::1]:8443").unwrap(), https("::1", 8443));
    assert_eq!(of("https://lab").unwrap(), https("lab", 443));
    assert_eq!(of("https://a:1, https://b:2").unwrap(), https("b", 2));
    for wrong in [
        "http://lab:8443",
        "ftp://x",
        "lab:8443",
        "https://",
        "what ever",
    ] {
        let message = of(wrong).unwrap_err().report().message;
        assert!(message.contains("/c.yml, line 2"), "{wrong}: {message}");
    }
}
