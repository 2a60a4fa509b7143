//! The engines that the user's LXD and Incus clients are configured for: local ones and remotes.
//!
//! The configuration is read at each use, so new remotes need no restart. Only the list of engines
//! to ask by default is fixed at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::LxcBackend;
use super::client::Client;
use super::client_config::{Address, ClientConfig, LOCAL, Remote as Entry};
use super::locate::{self, HostEnvironment, KINDS};
use super::tls::{self, Identity};
use super::transport::{self, Transport};
use crate::backend::{Backend, Remotes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind, EngineProject, RemoteName};

/// Limit of asking a restricted user's socket for its project, which it creates for a new user
/// first.
const RESTRICTED_TIMEOUT: Duration = Duration::from_secs(20);
/// Supported authentication methods of remotes.
const CERTIFICATE_AUTH: [&str; 2] = ["", "tls"];

/// The remotes in the user's client configurations. A cheap handle.
#[derive(Clone, Default)]
pub struct LxcRemotes(Arc<Inner>);

#[derive(Default)]
struct Inner {
    environment: HostEnvironment,
    /// Engines of this machine that restrict this user to one project.
    restricted: BTreeMap<EngineKind, EngineProject>,
}

impl LxcRemotes {
    /// Reads the environment. Only a restricted engine is asked, for the user's project.
    pub async fn new(environment: HostEnvironment) -> Self {
        let mut restricted = BTreeMap::new();
        for kind in KINDS {
            let socket = locate::socket(kind, environment.of(kind));
            let chosen =
                ClientConfig::load(kind, &environment).and_then(|config| config.project(LOCAL));
            if locate::is_restricted(&socket) && socket.exists() && !matches!(chosen, Ok(Some(_))) {
                restricted.insert(kind, restricted_project(kind, &socket).await);
            }
        }
        Self(Arc::new(Inner {
            environment,
            restricted,
        }))
    }

    /// The default engines: those named by a variable, else both kinds' default remotes, LXD before
    /// Incus.
    #[must_use]
    pub fn engines(&self) -> Vec<Arc<dyn Backend>> {
        let named = self.0.environment.named();
        let kinds = if named.is_empty() {
            KINDS.to_vec()
        } else {
            named.clone()
        };
        let backends = kinds.into_iter().map(|kind| {
            let backend = self.preferred(kind, !named.is_empty());
            let backend = backend.unwrap_or_else(|error| self.unusable(kind, &error));
            Arc::new(backend) as Arc<dyn Backend>
        });
        backends.collect()
    }

    /// One kind's engine: the socket named by a variable, else its client's default remote.
    fn preferred(&self, kind: EngineKind, by_variable: bool) -> Result<LxcBackend> {
        let config = self.config(kind)?;
        if by_variable {
            self.for_remote(&config, LOCAL)
        } else {
            self.for_remote(&config, &config.default_remote)
        }
    }

    pub(super) fn config(&self, kind: EngineKind) -> Result<ClientConfig> {
        ClientConfig::load(kind, &self.0.environment)
    }

    fn socket(&self, kind: EngineKind) -> PathBuf {
        locate::socket(kind, self.0.environment.of(kind))
    }

    /// An engine whose every call fails with `error`.
    fn unusable(&self, kind: EngineKind, error: &Error) -> LxcBackend {
        let socket = self.socket(kind);
        let id = EngineId {
            kind,
            address: socket.display().to_string(),
            project: EngineProject::default_project(),
        };
        let transport = Transport::Unusable(Arc::new(error.report()));
        LxcBackend::at(Client::new(id, transport), self.clone())
    }

    fn for_remote(&self, config: &ClientConfig, name: &str) -> Result<LxcBackend> {
        match config.remote(name) {
            Some(remote) if remote.public => Err(images_only(name)),
            _ => Ok(LxcBackend::at(self.client(config, name)?, self.clone())),
        }
    }

    /// A client of a remote, which may serve images only.
    ///
    /// # Errors
    /// `NotFound` for an unknown remote, `Unsupported` for one without an engine or with another
    /// authentication, `Config` for an invalid one.
    pub(super) fn client(&self, config: &ClientConfig, name: &str) -> Result<Client> {
        let project = config.project(name)?;
        if name == LOCAL {
            let restricted = || self.0.restricted.get(&config.kind).cloned();
            let project = project.or_else(restricted);
            return Ok(at_socket(config.kind, self.socket(config.kind), project));
        }
        let entry = config
            .remote(name)
            .ok_or_else(|| unknown(name, &config.engines()))?;
        ensure_engine(name, entry)?;
        match entry.address()? {
            Address::Socket(path) => {
                let path = path.unwrap_or_else(|| self.socket(config.kind));
                Ok(at_socket(config.kind, path, project))
            }
            Address::Https { host, port } => {
                let identity = match (entry.public, &config.directory) {
                    (false, Some(directory)) => Identity::User(directory),
                    _ => Identity::Anonymous,
                };
                let pinned = tls::pinned_certificate(&entry.directory, name)?;
                let connector = tls::connector(identity, pinned.as_deref());
                let connector = connector
                    .map_err(|error| error.context(format!("cannot use remote `{name}`")))?;
                let remote = transport::Remote {
                    name: name.to_owned(),
                    host,
                    port,
                    connector,
                };
                let id = EngineId {
                    kind: config.kind,
                    address: entry.url().to_owned(),
                    project: project.unwrap_or_else(EngineProject::default_project),
                };
                Ok(Client::new(id, Transport::Remote(Arc::new(remote))))
            }
        }
    }

    /// The kinds in the order in which a name is looked up: the one named by a variable first, LXD
    /// before Incus; for `local`, installed ones first.
    fn lookup_order(&self, name: &str) -> Vec<EngineKind> {
        let named = self.0.environment.named();
        let mut kinds = KINDS.to_vec();
        kinds.sort_by_key(|kind| {
            let missing = name == LOCAL && !locate::is_installed(&self.socket(*kind));
            (!named.is_empty() && !named.contains(kind), missing)
        });
        kinds
    }
}

impl Remotes for LxcRemotes {
    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>> {
        let name = name.as_str();
        let (mut known, mut broken) = (Vec::new(), None);
        for kind in self.lookup_order(name) {
            match self.config(kind) {
                Ok(config) if name == LOCAL || config.remote(name).is_some() => {
                    return Ok(Arc::new(self.for_remote(&config, name)?));
                }
                Ok(config) => known.extend(config.engines()),
                Err(error) => broken = broken.or(Some(error)),
            }
        }
        Err(broken.unwrap_or_else(|| unknown(name, &known)))
    }

    fn at(&self, id: &EngineId) -> Option<Arc<dyn Backend>> {
        let config = self.config(id.kind).ok()?;
        let remotes = config.engines().into_iter();
        let mut clients = remotes.filter_map(|name| self.client(&config, name.as_str()).ok());
        let mut found = clients.find(|client| client.id.address == id.address)?;
        // The recorded project, not the client's current one.
        found.id = id.clone();
        Some(Arc::new(LxcBackend::at(found, self.clone())))
    }
}

fn at_socket(kind: EngineKind, path: PathBuf, project: Option<EngineProject>) -> Client {
    let id = EngineId {
        kind,
        address: path.display().to_string(),
        project: project.unwrap_or_else(EngineProject::default_project),
    };
    Client::new(id, Transport::Socket(path))
}

fn unknown(name: &str, known: &[RemoteName]) -> Error {
    let known: BTreeSet<&RemoteName> = known.iter().collect();
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("unknown remote `{name}`");
    Error::new(ErrorKind::NotFound, message).with_hint(format!(
        "known remotes: {}; add one: `lxc remote add NAME URL`, `incus remote add NAME URL`",
        known.join(", ")
    ))
}

fn images_only(name: &str) -> Error {
    let message = format!("remote `{name}` has images only");
    Error::new(ErrorKind::Unsupported, message)
        .with_hint(format!("use it in an image name: `{name}:ALIAS`"))
}

fn ensure_engine(name: &str, entry: &Entry) -> Result<()> {
    if !entry.protocol.is_engine() {
        return Err(images_only(name));
    }
    let auth = entry.auth.as_deref().unwrap_or_default();
    if !entry.public && !CERTIFICATE_AUTH.contains(&auth) {
        let message =
            format!("remote `{name}` authenticates by `{auth}`: expected a client certificate");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("add it again under another name, with a token"));
    }
    Ok(())
}

/// The project of a restricted user's socket: the only visible one, else the engines' default name.
async fn restricted_project(kind: EngineKind, socket: &Path) -> EngineProject {
    let client = at_socket(kind, socket.to_path_buf(), None);
    let request = timeout(RESTRICTED_TIMEOUT, client.list::<String>("/1.0/projects"));
    let visible = match request.await {
        Ok(Ok(visible)) => visible,
        _ => {
            let name = format!("user-{}", rustix::process::getuid().as_raw());
            return EngineProject::parse(&name)
                .unwrap_or_else(|_| EngineProject::default_project());
        }
    };
    only_project(&visible).unwrap_or_else(EngineProject::default_project)
}

/// The project of a list of one, as in `/1.0/projects/user-1000`.
fn only_project(paths: &[String]) -> Option<EngineProject> {
    let [only] = paths else { return None };
    EngineProject::parse(only.rsplit('/').next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct TestHome {
        root: tempfile::TempDir,
        environment: HostEnvironment,
    }

    impl TestHome {
        /// Writes a configuration for each client.
        fn new(lxd: &str, incus: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            let mut environment = HostEnvironment {
                home: Some(root.path().into()),
                ..HostEnvironment::default()
            };
            for (name, text, variables) in [
                ("lxc", lxd, &mut environment.lxd),
                ("incus", incus, &mut environment.incus),
            ] {
                let directory = root.path().join(".config").join(name);
                std::fs::create_dir_all(&directory).unwrap();
                std::fs::write(directory.join("config.yml"), text).unwrap();
                let pair = rcgen::KeyPair::generate().unwrap();
                let certificate = rcgen::CertificateParams::new(vec!["c".to_owned()]);
                let certificate = certificate.unwrap().self_signed(&pair).unwrap();
                std::fs::write(directory.join("client.crt"), certificate.pem()).unwrap();
                std::fs::write(directory.join("client.key"), pair.serialize_pem()).unwrap();
                variables.global_conf = Some(root.path().join("etc"));
            }
            Self { root, environment }
        }

        async fn remotes(&self) -> LxcRemotes {
            LxcRemotes::new(self.environment.clone()).await
        }
    }

    fn name(text: &str) -> RemoteName {
        RemoteName::parse(text).unwrap()
    }

    fn addresses(backends: &[Arc<dyn Backend>]) -> Vec<String> {
        let ids = backends.iter().map(|backend| backend.id().to_string());
        ids.collect()
    }

    const LAB: &str = "default-remote: lab
remotes:
  lab: {addr: 'https://lab:8443', project: web}
  shop: {addr: 'https://shop', protocol: simplestreams, public: true}
  sso: {addr: 'https://sso:8443', auth_type: oidc}
  here: {addr: 'unix:///srv/here.sock'}
";

    #[tokio::test]
    async fn uses_the_default_remote_and_its_project() {
        let home = TestHome::new(LAB, "remotes: {local: {addr: 'unix://', project: mine}}\n");
        let found = addresses(&home.remotes().await.engines());
        assert_eq!(found[0], "LXD at https://lab:8443, project web");
        assert!(found[1].ends_with("project mine"), "{found:?}");
    }

    #[tokio::test]
    async fn variable_overrides_the_default_remote() {
        let mut home = TestHome::new(LAB, "");
        home.environment.lxd.socket = Some("/srv/lxd.sock".into());
        let found = addresses(&home.remotes().await.engines());
        assert_eq!(found, ["LXD at /srv/lxd.sock"]);
    }

    #[tokio::test]
    async fn resolves_remote_names_and_lists_known_ones_for_an_unknown_name() {
        let home = TestHome::new(LAB, "remotes: {lab2: {addr: 'https://lab2:1'}}\n");
        let remotes = home.remotes().await;
        let at = |text: &str| remotes.named(&name(text)).map(|found| found.id().clone());
        assert_eq!(at("here").unwrap().address, "/srv/here.sock");
        let lab2 = at("lab2").unwrap();
        assert_eq!(lab2.kind, EngineKind::Incus);
        assert_eq!(remotes.at(&lab2).unwrap().id(), &lab2);
        let error = at("nope").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let hint = error.hint().unwrap();
        assert!(hint.contains("`here`, `lab`, `lab2`, `local`"), "{hint}");
        for (remote, word) in [("shop", "images only"), ("sso", "`oidc`")] {
            let error = at(remote).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(word), "{error:?}");
        }
    }

    #[tokio::test]
    async fn invalid_configuration_fails_only_its_own_engine() {
        let home = TestHome::new("remotes: [\n", "remotes: {lab: {addr: 'https://lab:1'}}\n");
        let remotes = home.remotes().await;
        assert!(remotes.named(&name("lab")).is_ok());
        let error = remotes.named(&name("nope")).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let engines = remotes.engines();
        let error = engines[0].instances().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.report().message;
        assert!(message.contains("lxc/config.yml"), "{message}");
        assert_eq!(engines[1].kind(), EngineKind::Incus);
    }

    #[tokio::test]
    async fn remote_without_client_certificate_hints_how_to_create_one() {
        let home = TestHome::new(LAB, "");
        std::fs::remove_file(home.root.path().join(".config/lxc/client.crt")).unwrap();
        let error = home.remotes().await.named(&name("lab")).map(drop);
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "cannot use remote `lab`");
        assert!(error.hint().unwrap().contains("remote add"), "{error:?}");
    }

    #[test]
    fn single_project_is_the_restricted_users_own() {
        let project = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            only_project(&names).map(|project| project.to_string())
        };
        assert_eq!(
            project(&["/1.0/projects/user-1000"]),
            Some("user-1000".into())
        );
        assert_eq!(project(&["/1.0/projects/default", "/1.0/projects/a"]), None);
        assert_eq!(project(&[]), None);
    }
}
