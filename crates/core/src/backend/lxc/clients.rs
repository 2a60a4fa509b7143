//! The engines that the user's own LXD and Incus clients reach: of this machine, and their remotes.
//!
//! Their configuration is read whenever a name is asked for: a remote that the user adds while we run
//! is there for the next question. Which engines are asked where nothing says which is settled at the
//! start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::LxcBackend;
use super::client::Client;
use super::config::{Address, Config, LOCAL, Remote as Entry};
use super::locate::{self, KINDS, Surroundings};
use super::tls::{self, Identity};
use super::transport::{self, Transport};
use crate::backend::{Backend, Remotes};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineId, EngineKind, EngineProject, RemoteName};

/// How long a restricted user's socket may take to say which project it leads to. Its first answer to
/// a new user comes only after it has made that project.
const RESTRICTED_TIMEOUT: Duration = Duration::from_secs(20);
/// The ways in which a remote's user can be known that work here.
const BY_CERTIFICATE: [&str; 2] = ["", "tls"];

/// What the user's clients are configured to. A cheap handle.
#[derive(Clone, Default)]
pub struct Clients(Arc<Known>);

#[derive(Default)]
struct Known {
    surroundings: Surroundings,
    /// Where the engine of this machine lets this user into one project only.
    restricted: BTreeMap<EngineKind, EngineProject>,
}

impl Clients {
    /// The clients of a user with these surroundings. Only an engine that lets the user into a project
    /// of the user's own is asked for something: which project that is.
    pub async fn new(surroundings: Surroundings) -> Self {
        let mut restricted = BTreeMap::new();
        for kind in KINDS {
            let socket = locate::socket(kind, surroundings.of(kind));
            let chosen = Config::load(kind, &surroundings).and_then(|config| config.project(LOCAL));
            if locate::is_restricted(&socket) && socket.exists() && !matches!(chosen, Ok(Some(_))) {
                restricted.insert(kind, restricted_project(kind, &socket).await);
            }
        }
        Self(Arc::new(Known {
            surroundings,
            restricted,
        }))
    }

    /// The engines to ask where nothing says which: those that a variable names, else both kinds'
    /// default remotes, LXD before Incus.
    #[must_use]
    pub fn engines(&self) -> Vec<Arc<dyn Backend>> {
        let named = self.0.surroundings.named();
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

    /// One kind's engine: its client's default remote, unless a variable has named a socket.
    fn preferred(&self, kind: EngineKind, by_variable: bool) -> Result<LxcBackend> {
        let config = self.config(kind)?;
        match by_variable {
            true => self.at_remote(&config, LOCAL),
            false => self.at_remote(&config, &config.default_remote),
        }
    }

    pub(super) fn config(&self, kind: EngineKind) -> Result<Config> {
        Config::load(kind, &self.0.surroundings)
    }

    fn socket(&self, kind: EngineKind) -> PathBuf {
        locate::socket(kind, self.0.surroundings.of(kind))
    }

    /// An engine that says to whoever asks why it can't be asked.
    fn unusable(&self, kind: EngineKind, error: &Error) -> LxcBackend {
        let socket = self.socket(kind);
        let id = EngineId {
            kind,
            address: socket.display().to_string(),
            project: EngineProject::default_one(),
        };
        let transport = Transport::Unusable(Arc::new(error.report()));
        LxcBackend::at(Client::new(id, transport), self.clone())
    }

    fn at_remote(&self, config: &Config, name: &str) -> Result<LxcBackend> {
        match config.remote(name) {
            Some(remote) if remote.public => Err(images_only(name)),
            _ => Ok(LxcBackend::at(self.client(config, name)?, self.clone())),
        }
    }

    /// A client of the engine that a remote is, which may have images only.
    ///
    /// # Errors
    /// `NotFound` for an unknown one, `Unsupported` for one that is no engine or wants to know its user
    /// otherwise than by certificate, `Config` for what can't be used.
    pub(super) fn client(&self, config: &Config, name: &str) -> Result<Client> {
        let project = config.project(name)?;
        if name == LOCAL {
            let own = || self.0.restricted.get(&config.kind).cloned();
            let project = project.or_else(own);
            return Ok(at_socket(config.kind, self.socket(config.kind), project));
        }
        let entry = config
            .remote(name)
            .ok_or_else(|| unknown(name, &config.engines()))?;
        expect_engine(name, entry)?;
        match entry.address()? {
            Address::Socket(path) => {
                let path = path.unwrap_or_else(|| self.socket(config.kind));
                Ok(at_socket(config.kind, path, project))
            }
            Address::Https { host, port } => {
                let identity = match (entry.public, &config.directory) {
                    (false, Some(directory)) => Identity::User(directory),
                    _ => Identity::Nobody,
                };
                let noted = tls::noted_certificate(&entry.directory, name)?;
                let connector = tls::connector(identity, noted.as_deref());
                let connector = connector
                    .map_err(|error| error.context(format!("cannot use the remote `{name}`")))?;
                let remote = transport::Remote {
                    name: name.to_owned(),
                    host,
                    port,
                    connector,
                };
                let id = EngineId {
                    kind: config.kind,
                    address: entry.url().to_owned(),
                    project: project.unwrap_or_else(EngineProject::default_one),
                };
                Ok(Client::new(id, Transport::Remote(Arc::new(remote))))
            }
        }
    }

    /// The kinds in which a name is looked for: the one that a variable names first, LXD before
    /// Incus; for `local`, one that is there before one that isn't.
    fn order(&self, name: &str) -> Vec<EngineKind> {
        let named = self.0.surroundings.named();
        let mut kinds = KINDS.to_vec();
        kinds.sort_by_key(|kind| {
            let missing = name == LOCAL && !locate::is_installed(&self.socket(*kind));
            (!named.is_empty() && !named.contains(kind), missing)
        });
        kinds
    }
}

impl Remotes for Clients {
    fn named(&self, name: &RemoteName) -> Result<Arc<dyn Backend>> {
        let name = name.as_str();
        let (mut known, mut broken) = (Vec::new(), None);
        for kind in self.order(name) {
            match self.config(kind) {
                Ok(config) if name == LOCAL || config.remote(name).is_some() => {
                    return Ok(Arc::new(self.at_remote(&config, name)?));
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
        // The record's own project, whichever one the client is in now.
        found.id = id.clone();
        Some(Arc::new(LxcBackend::at(found, self.clone())))
    }
}

fn at_socket(kind: EngineKind, path: PathBuf, project: Option<EngineProject>) -> Client {
    let id = EngineId {
        kind,
        address: path.display().to_string(),
        project: project.unwrap_or_else(EngineProject::default_one),
    };
    Client::new(id, Transport::Socket(path))
}

fn unknown(name: &str, known: &[RemoteName]) -> Error {
    let known: BTreeSet<&RemoteName> = known.iter().collect();
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("no remote is called `{name}`");
    Error::new(ErrorKind::NotFound, message).with_hint(format!(
        "there are {}; add one: `lxc remote add NAME URL`, `incus remote add NAME URL`",
        known.join(", ")
    ))
}

fn images_only(name: &str) -> Error {
    let message = format!("the remote `{name}` has images only, it holds no envs");
    Error::new(ErrorKind::Unsupported, message)
        .with_hint(format!("use it in the name of an image: `{name}:ALIAS`"))
}

fn expect_engine(name: &str, entry: &Entry) -> Result<()> {
    if !entry.protocol.is_engine() {
        return Err(images_only(name));
    }
    let way = entry.auth.as_deref().unwrap_or_default();
    if !entry.public && !BY_CERTIFICATE.contains(&way) {
        let message = format!("the remote `{name}` knows its users by `{way}`, not by certificate");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("add it once more, under another name and with a token"));
    }
    Ok(())
}

/// The project that a restricted user's socket leads to: the only one that it shows, as the engines'
/// clients find it too. Where it doesn't answer, the name that the engines give it.
async fn restricted_project(kind: EngineKind, socket: &Path) -> EngineProject {
    let client = at_socket(kind, socket.to_path_buf(), None);
    let asked = timeout(
        RESTRICTED_TIMEOUT,
        client.get::<Vec<String>>("/1.0/projects"),
    );
    let shown = match asked.await {
        Ok(Ok(shown)) => shown,
        _ => {
            let own = format!("user-{}", rustix::process::getuid().as_raw());
            return EngineProject::parse(&own).unwrap_or_else(|_| EngineProject::default_one());
        }
    };
    only_project(&shown).unwrap_or_else(EngineProject::default_one)
}

/// The project of a list with one in it, as `/1.0/projects/user-1000`.
fn only_project(shown: &[String]) -> Option<EngineProject> {
    let [only] = shown else { return None };
    EngineProject::parse(only.rsplit('/').next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        root: tempfile::TempDir,
        surroundings: Surroundings,
    }

    impl Place {
        /// A home with a configuration for each client.
        fn new(lxd: &str, incus: &str) -> Self {
            let root = tempfile::tempdir().unwrap();
            let mut surroundings = Surroundings {
                home: Some(root.path().into()),
                ..Surroundings::default()
            };
            for (name, text, variables) in [
                ("lxc", lxd, &mut surroundings.lxd),
                ("incus", incus, &mut surroundings.incus),
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
            Self { root, surroundings }
        }

        async fn clients(&self) -> Clients {
            Clients::new(self.surroundings.clone()).await
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
    async fn the_default_remote_and_its_project_are_honoured() {
        let place = Place::new(LAB, "remotes: {local: {addr: 'unix://', project: mine}}\n");
        let found = addresses(&place.clients().await.engines());
        assert_eq!(found[0], "LXD at https://lab:8443, project web");
        assert!(found[1].ends_with("project mine"), "{found:?}");
    }

    #[tokio::test]
    async fn a_variable_wins_over_the_default_remote() {
        let mut place = Place::new(LAB, "");
        place.surroundings.lxd.socket = Some("/srv/lxd.sock".into());
        let found = addresses(&place.clients().await.engines());
        assert_eq!(found, ["LXD at /srv/lxd.sock"]);
    }

    #[tokio::test]
    async fn a_name_leads_to_one_engine_and_an_unknown_one_names_the_others() {
        let place = Place::new(LAB, "remotes: {lab2: {addr: 'https://lab2:1'}}\n");
        let clients = place.clients().await;
        let at = |text: &str| clients.named(&name(text)).map(|found| found.id().clone());
        assert_eq!(at("here").unwrap().address, "/srv/here.sock");
        let lab2 = at("lab2").unwrap();
        assert_eq!(lab2.kind, EngineKind::Incus);
        assert_eq!(clients.at(&lab2).unwrap().id(), &lab2);
        let error = at("nope").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let hint = error.hint().unwrap();
        assert!(hint.contains("`here`, `lab`, `lab2`, `local`"), "{hint}");
        for (remote, word) in [("shop", "images only"), ("sso", "by `oidc`")] {
            let error = at(remote).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(word), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a_broken_configuration_is_said_by_the_engine_that_needs_it() {
        let place = Place::new("remotes: [\n", "remotes: {lab: {addr: 'https://lab:1'}}\n");
        let clients = place.clients().await;
        // The other client's remotes can be used all the same.
        assert!(clients.named(&name("lab")).is_ok());
        let error = clients.named(&name("nope")).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let engines = clients.engines();
        let error = engines[0].instances().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.report().message;
        assert!(message.contains("lxc/config.yml"), "{message}");
        assert_eq!(engines[1].kind(), EngineKind::Incus);
    }

    #[tokio::test]
    async fn a_remote_without_a_client_certificate_says_how_to_get_one() {
        let place = Place::new(LAB, "");
        std::fs::remove_file(place.root.path().join(".config/lxc/client.crt")).unwrap();
        let error = place.clients().await.named(&name("lab")).map(drop);
        let error = error.unwrap_err();
        assert_eq!(error.to_string(), "cannot use the remote `lab`");
        assert!(error.hint().unwrap().contains("remote add"), "{error:?}");
    }

    #[test]
    fn one_project_alone_is_the_users_own() {
        let shown = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            only_project(&names).map(|project| project.to_string())
        };
        assert_eq!(
            shown(&["/1.0/projects/user-1000"]),
            Some("user-1000".into())
        );
        assert_eq!(shown(&["/1.0/projects/default", "/1.0/projects/a"]), None);
        assert_eq!(shown(&[]), None);
    }
}
