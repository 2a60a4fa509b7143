//! The clients' configuration, as they write it and as people break it.

use super::*;

struct Place {
    root: tempfile::TempDir,
    surroundings: Surroundings,
}

fn place() -> Place {
    let root = tempfile::tempdir().unwrap();
    let mut surroundings = Surroundings {
        home: Some(root.path().join("home")),
        ..Surroundings::default()
    };
    surroundings.lxd.global_conf = Some(root.path().join("etc"));
    surroundings.incus.global_conf = Some(root.path().join("etc"));
    Place { root, surroundings }
}

impl Place {
    fn write(&self, directory: &str, text: &str) {
        let directory = self.root.path().join(directory);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join(FILE), text).unwrap();
    }

    fn load(&self, kind: EngineKind) -> Result<Config> {
        Config::load(kind, &self.surroundings)
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
fn without_a_file_there_is_only_this_machine() {
    let config = place().load(EngineKind::Incus).unwrap();
    assert_eq!(config.default_remote, LOCAL);
    assert_eq!(config.engines().len(), 1);
    assert_eq!(config.project(LOCAL).unwrap(), None);
}

#[test]
fn remotes_default_and_projects_are_read() {
    let place = place();
    place.write("home/.config/lxc", LAB);
    let config = place.load(EngineKind::Lxd).unwrap();
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
fn the_snaps_directory_and_the_systems_remotes_count_too() {
    let place = place();
    place.write("home/snap/lxd/common/config", LAB);
    place.write(
            "etc",
            "default-remote: nope\nremotes:\n  lab: {addr: 'https://other:1'}\n  all: {addr: 'https://all:1'}\n",
        );
    let config = place.load(EngineKind::Lxd).unwrap();
    assert_eq!(config.default_remote, "lab");
    let lab = config.remote("lab").unwrap();
    assert_eq!(lab.url(), "https://lab.example.org:8443");
    let all = config.remote("all").unwrap();
    assert_eq!(all.directory, place.root.path().join("etc"));
    assert_eq!(all.protocol, Protocol::Engine("lxd".to_owned()));
}

#[test]
fn the_environment_wins_over_the_file() {
    let mut place = place();
    place.write("home/.config/incus", LAB);
    place.surroundings.incus.remote = Some(LOCAL.to_owned());
    place.surroundings.incus.project = Some("other".to_owned());
    let config = place.load(EngineKind::Incus).unwrap();
    assert_eq!(config.default_remote, LOCAL);
    assert_eq!(config.project("lab").unwrap().unwrap().as_str(), "other");
    place.write("conf", "default-remote: x\n");
    place.surroundings.incus.remote = None;
    place.surroundings.incus.conf = Some(place.root.path().join("conf"));
    assert_eq!(place.load(EngineKind::Incus).unwrap().default_remote, "x");
}

#[test]
fn a_file_that_can_not_be_used_is_named_with_its_line() {
    let place = place();
    for (text, line) in [
        ("remotes:\n  a: {addr: [1]}\n", "line 2"),
        ("remotes: [\n", "line 1"),
        ("remotes:\n  a:\n    public: true\n", "line 3"),
        (
            "remotes:\n  a:\n    addr: x\n    public: perhaps\n",
            "line 4",
        ),
    ] {
        place.write("home/.config/incus", text);
        let error = place.load(EngineKind::Incus).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{text}");
        let message = error.report().message;
        assert!(message.contains("incus/config.yml"), "{message}");
        assert!(message.contains(line), "{text}: {message}");
    }
    for blank in ["", "# nothing\n", "---\n"] {
        place.write("home/.config/incus", blank);
        assert!(place.load(EngineKind::Incus).is_ok(), "{blank:?}");
    }
}

#[test]
fn addresses_are_a_socket_or_https() {
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
