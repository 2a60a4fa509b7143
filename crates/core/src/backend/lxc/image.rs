//! Which image a name means.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::clients::Clients;
use super::config::{Config, LOCAL, Protocol, Remote};
use super::tls;
use super::transport::Transport;
use crate::backend::{Image, RemoteImage, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::image_names::{self, Registry};
use crate::model::{EngineKind, Fingerprint, ImageName};

const URL_PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name as one part of a URL's path or query.
pub(super) fn url_part(text: &str) -> String {
    utf8_percent_encode(text, URL_PART).to_string()
}

#[derive(Deserialize)]
struct Alias {
    name: String,
    target: String,
}

#[derive(Deserialize)]
struct Found {
    fingerprint: String,
    #[serde(default)]
    public: bool,
}

/// Looks up a local alias exactly as written, a fingerprint, a remote's, then the built-in names.
pub(super) async fn find(client: &Client, clients: &Clients, name: &ImageName) -> Result<Image> {
    if let Some(fingerprint) = own(client, name.as_str()).await? {
        return Ok(Image::Local { fingerprint });
    }
    let mut config = None;
    if let Some((remote, alias)) = name.as_str().split_once(':') {
        let config = config.insert(clients.config(client.kind())?);
        if let Some(image) = of_remote(client, clients, config, remote, alias).await? {
            return Ok(image);
        }
    }
    let registry = match client.kind() {
        EngineKind::Lxd => Registry::Lxd,
        _ => Registry::Incus,
    };
    match image_names::resolve(name, registry) {
        Some((server, alias)) => Ok(Image::Simplestreams {
            server,
            alias,
            certificate: None,
        }),
        None => Err(unknown(client, name, config.as_ref()).await),
    }
}

/// The engine's own image of this alias or fingerprint.
async fn own(client: &Client, name: &str) -> Result<Option<Fingerprint>> {
    let path = format!("/1.0/images/aliases/{}", url_part(name));
    match client.get::<Alias>(&path).await {
        Ok(alias) => return Fingerprint::parse(&alias.target).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if name.len() < 8 || !name.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match client.get::<Found>(&format!("/1.0/images/{name}")).await {
        Ok(found) => Fingerprint::parse(&found.fingerprint).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An image of one of the user's remotes; `None` where no remote has that name.
async fn of_remote(
    client: &Client,
    clients: &Clients,
    config: &Config,
    name: &str,
    alias: &str,
) -> Result<Option<Image>> {
    let remote = config.remote(name);
    match remote.map(|remote| (remote, &remote.protocol)) {
        Some((remote, Protocol::Simplestreams)) => Ok(Some(Image::Simplestreams {
            server: remote.url().to_owned(),
            alias: alias.to_owned(),
            certificate: tls::noted_certificate(&remote.directory, name)?,
        })),
        Some((_, Protocol::Other(what))) => {
            let message =
                format!("images of the remote `{name}` can't be used: it speaks `{what}`");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None if name != LOCAL => Ok(None),
        _ => {
            let there = clients.client(config, name)?;
            let fingerprint = own(&there, alias).await?.ok_or_else(|| {
                let message = format!("the remote `{name}` has no image `{alias}`");
                Error::new(ErrorKind::NotFound, message)
            })?;
            if there.id == client.id {
                return Ok(Some(Image::Local { fingerprint }));
            }
            let image = of_engine(&there, name, remote, fingerprint).await?;
            Ok(Some(Image::Remote(Box::new(image))))
        }
    }
}

/// What this engine needs to fetch an image of another one by itself.
async fn of_engine(
    there: &Client,
    name: &str,
    remote: Option<&Remote>,
    fingerprint: Fingerprint,
) -> Result<RemoteImage> {
    let (Some(Protocol::Engine(protocol)), Transport::Remote(_)) =
        (remote.map(|remote| &remote.protocol), &there.transport)
    else {
        let message = format!("images of `{name}` can't be fetched: it answers at a socket only");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("copy the image by hand: `image export` there, `image import` here"));
    };
    let path = format!("/1.0/images/{fingerprint}");
    let found: Found = there.get(&path).await?;
    let secret = match found.public {
        true => None,
        false => Some(secret(there, &path).await?),
    };
    let server: Value = there.get("/1.0").await?;
    let certificate = server["environment"]["certificate"].as_str();
    Ok(RemoteImage {
        server: there.id.address.clone(),
        protocol: protocol.clone(),
        fingerprint,
        certificate: certificate.unwrap_or_default().to_owned(),
        secret,
    })
}

/// Asks an engine for what opens one of its private images, once.
async fn secret(there: &Client, image: &str) -> Result<Secret> {
    let path = format!("{image}/secret");
    let answer = there.send("POST", &path, &json!({})).await?;
    let word = answer.metadata["metadata"]["secret"].as_str();
    let word = word.ok_or_else(|| there.failure(ErrorKind::Engine, "it gave no secret"))?;
    Ok(Secret::new(word.to_owned()))
}

async fn unknown(client: &Client, name: &ImageName, config: Option<&Config>) -> Error {
    let message = format!("{} knows no image `{name}`", client.kind());
    let error = Error::new(ErrorKind::NotFound, message);
    let aliases: Vec<Alias> = client
        .get("/1.0/images/aliases?recursion=1")
        .await
        .unwrap_or_default();
    let mut known: Vec<String> = aliases.into_iter().map(|alias| alias.name).collect();
    known.extend(image_names::examples());
    let near = image_names::near(name, &known);
    let remotes = config.into_iter().flat_map(Config::image_sources);
    known.extend(remotes.map(|remote| format!("{remote}:…")));
    error.with_hint(match near.as_slice() {
        [] => format!("there are: {}", known.join(", ")),
        _ => format!("did you mean {}?", near.join(" or ")),
    })
}
