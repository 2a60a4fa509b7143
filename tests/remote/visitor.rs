//! A user with their own client configuration, and a certificate that the engine may trust.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lxc_dev_manager_core::backend::lxc::{HostEnvironment, LxcRemotes};
use lxc_dev_manager_core::backend::{Backend, Remotes};
use lxc_dev_manager_tests::engines::TestEngine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::admin::Admin;

/// The user's name for the engine.
pub const LAB: &str = "lab";

/// The user. Drop ends the engine's trust.
pub struct Visitor {
    home: PathBuf,
    /// The home, if created for this user.
    own: Option<tempfile::TempDir>,
    engine: TestEngine,
    certificate: rcgen::Certificate,
    trusted_by: Option<Admin>,
}

impl Visitor {
    /// A user in this home, who knows the engine as [`LAB`] with its certificate.
    pub fn in_home(engine: &TestEngine, home: &Path) -> Result<Self> {
        let pair = rcgen::KeyPair::generate()?;
        let mut parameters = rcgen::CertificateParams::new(vec!["visitor".to_owned()])?;
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = parameters.self_signed(&pair)?;
        let visitor = Self {
            home: home.to_path_buf(),
            own: None,
            engine: engine.clone(),
            certificate,
            trusted_by: None,
        };
        visitor.write("client.crt", &visitor.certificate.pem())?;
        visitor.write("client.key", &pair.serialize_pem())?;
        let admin = Admin::new(engine)?;
        visitor.note(&admin.certificate()?)?;
        visitor.knows(&url(admin.port()?), "")?;
        Ok(visitor)
    }

    /// A user in a new home.
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let own = tempfile::Builder::new().prefix("ldmv-").tempdir()?;
        let mut visitor = Self::in_home(engine, own.path())?;
        visitor.own = Some(own);
        Ok(visitor)
    }

    pub fn engine(&self) -> &TestEngine {
        &self.engine
    }

    /// Makes the engine trust the user.
    pub fn trusted(self) -> Result<Self> {
        self.trusted_with(json!({}))
    }

    /// Makes the engine trust the user in one project only.
    pub fn trusted_for(self, project: &str) -> Result<Self> {
        self.trusted_with(json!({ "restricted": true, "projects": [project] }))
    }

    fn trusted_with(mut self, mut body: Value) -> Result<Self> {
        let admin = Admin::new(&self.engine)?;
        body["type"] = json!("client");
        body["name"] = json!("visitor");
        body["certificate"] = json!(BASE64_STANDARD.encode(self.certificate.der()));
        admin.ask("POST", "/1.0/certificates", &body)?;
        self.trusted_by = Some(admin);
        Ok(self)
    }

    /// Writes a file of the client configuration.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().context("no directory")?)?;
        Ok(std::fs::write(path, text)?)
    }

    /// Path of such a file.
    pub fn path(&self, name: &str) -> PathBuf {
        let directory = match self.engine.label() {
            "lxd" => "lxc",
            other => other,
        };
        self.home.join(".config").join(directory).join(name)
    }

    /// Stores the server's certificate.
    pub fn note(&self, certificate: &str) -> Result<()> {
        self.write(&format!("servercerts/{LAB}.crt"), certificate)
    }

    /// Configures [`LAB`] with this URL and `more` lines.
    pub fn knows(&self, url: &str, more: &str) -> Result<()> {
        self.configure(&format!("  {LAB}:\n    addr: {url}\n{more}"))
    }

    pub fn configure(&self, remotes: &str) -> Result<()> {
        self.write(
            "config.yml",
            &format!("default-remote: local\nremotes:\n{remotes}"),
        )
    }

    /// The engines that the user's configuration leads to; with `local` also the engine's socket.
    pub async fn clients(&self, local: bool) -> LxcRemotes {
        let lookup = |name: &str| -> Option<OsString> {
            match name {
                "HOME" => Some(self.home.clone().into()),
                "LXD_GLOBAL_CONF" | "INCUS_GLOBAL_CONF" => Some(self.home.join("etc").into()),
                name if local && name == self.engine.variable() => {
                    Some(self.engine.socket.clone().into())
                }
                _ => None,
            }
        };
        LxcRemotes::new(HostEnvironment::read(lookup)).await
    }

    /// The engine as [`LAB`].
    pub async fn lab(&self) -> lxc_dev_manager_core::Result<Arc<dyn Backend>> {
        self.clients(false).await.named(&LAB.parse()?)
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        let Some(admin) = &self.trusted_by else {
            return;
        };
        let hash = Sha256::digest(self.certificate.der());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = format!("/1.0/certificates/{hash}");
        if let Err(error) = admin.ask("DELETE", &path, &json!({})) {
            eprintln!("a visitor stays trusted: {error:#}");
        }
    }
}

pub fn url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}
