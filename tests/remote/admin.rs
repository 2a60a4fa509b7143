//! Administration of an engine with its own client.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use lxc_dev_manager_tests::engines::TestEngine;
use serde_json::{Value, json};

/// The engine's client, with an empty configuration.
pub struct Admin {
    engine: TestEngine,
    place: tempfile::TempDir,
}

impl Admin {
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("ldmr-").tempdir()?;
        // Suppresses the greeting for new users.
        std::fs::write(place.path().join("config.yml"), "default-remote: local\n")?;
        Ok(Self {
            engine: engine.clone(),
            place,
        })
    }

    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let (program, configuration) = match self.engine.label() {
            "lxd" => ("lxc", "LXD_CONF"),
            other => (other, "INCUS_CONF"),
        };
        let output = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.place.path())
            .env(configuration, self.place.path())
            .env(self.engine.variable(), &self.engine.socket)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!(
                "{program} {arguments:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Sends a request; returns the content of the response.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = body.to_string();
        let said = self.run(&["query", "--wait", "-X", method, "-d", &body, path])?;
        match said.trim() {
            "" => Ok(Value::Null),
            text => Ok(serde_json::from_str(text)?),
        }
    }

    pub fn configuration(&self) -> &std::path::Path {
        self.place.path()
    }

    fn server(&self) -> Result<Value> {
        self.ask("GET", "/1.0", &json!({}))
    }

    /// The engine's certificate, PEM.
    pub fn certificate(&self) -> Result<String> {
        let server = self.server()?;
        let certificate = server["environment"]["certificate"].as_str();
        Ok(certificate.context("no certificate")?.to_owned())
    }

    pub fn port(&self) -> Result<u16> {
        let server = self.server()?;
        let address = server["config"]["core.https_address"].as_str();
        let (_, port) = address
            .and_then(|address| address.rsplit_once(':'))
            .context("HTTPS is off")?;
        Ok(port.parse()?)
    }

    /// Removes all trusted client certificates with this name.
    pub fn distrust(&self, name: &str) -> Result<()> {
        let found = self.ask("GET", "/1.0/certificates?recursion=1", &json!({}))?;
        let all = found.as_array().into_iter().flatten();
        for certificate in all.filter(|certificate| certificate["name"] == name) {
            let hash = certificate["fingerprint"].as_str().context("no hash")?;
            self.ask("DELETE", &format!("/1.0/certificates/{hash}"), &json!({}))?;
        }
        Ok(())
    }

    fn set_https(&self, address: &str) -> Result<()> {
        let body = json!({ "config": { "core.https_address": address } });
        self.ask("PATCH", "/1.0", &body).map(drop)
    }
}

/// HTTPS on loopback, until dropped.
pub struct Open(Admin);

impl Open {
    pub fn new(engine: &TestEngine) -> Result<Self> {
        let admin = Admin::new(engine)?;
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        admin.set_https(&free.to_string())?;
        Ok(Self(admin))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_https("") {
            eprintln!("cannot close the engine's HTTPS port: {error:#}");
        }
    }
}

/// An engine's project with the images, profiles and networks of `default`, until dropped.
pub struct EngineProject {
    admin: Admin,
    pub name: String,
}

impl EngineProject {
    pub fn new(engine: &TestEngine) -> Result<Self> {
        Self::with(
            engine,
            json!({ "features.images": "false", "features.profiles": "false" }),
        )
    }

    /// Like the projects that engines create for restricted users.
    pub fn restricted(engine: &TestEngine) -> Result<Self> {
        let config = json!({
            "features.images": "false",
            "features.profiles": "true",
            "restricted": "true",
            "restricted.containers.nesting": "allow",
        });
        let project = Self::with(engine, config)?;
        let profile = project
            .admin
            .ask("GET", "/1.0/profiles/default", &json!({}))?;
        let path = format!("/1.0/profiles/default?project={}", project.name);
        let body = json!({ "devices": profile["devices"], "config": {}, "description": "" });
        project.admin.ask("PUT", &path, &body)?;
        Ok(project)
    }

    fn with(engine: &TestEngine, config: Value) -> Result<Self> {
        let admin = Admin::new(engine)?;
        let name = format!("p{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let body = json!({ "name": name, "config": config });
        admin.ask("POST", "/1.0/projects", &body)?;
        Ok(Self { admin, name })
    }

    fn clear(&self) -> Result<()> {
        let path = format!("/1.0/instances?project={}", self.name);
        let found = self.admin.ask("GET", &path, &json!({}))?;
        for instance in found.as_array().into_iter().flatten() {
            let name = instance.as_str().and_then(|path| path.rsplit('/').next());
            let name = name.and_then(|name| name.split('?').next());
            let name = name.context("no name")?;
            self.admin
                .run(&["delete", "--force", "--project", &self.name, name])?;
        }
        let path = format!("/1.0/projects/{}", self.name);
        self.admin.ask("DELETE", &path, &json!({})).map(drop)
    }
}

impl Drop for EngineProject {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("project {} was left behind: {error:#}", self.name);
        }
    }
}
