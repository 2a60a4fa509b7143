//! Resolution of image names.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::client_config::{ClientConfig, LOCAL, Protocol, Remote};
use super::images::{Alias, alias_target};
use super::remotes::LxcRemotes;
use super::tls;
use super::transport::Transport;
use crate::backend::{Image, RemoteImage, Secret};
use crate::error::{Error, ErrorKind, Result};
use crate::image_names::{self, Registry};
use crate::model::{EngineKind, Fingerprint, ImageName};

#[derive(Deserialize)]
struct ImageInfo {
    fingerprint: String,
    #[serde(default)]
    public: bool,
}

/// Looks up a local alias or fingerprint, then a remote's image, then the built-in names.
pub(super) async fn find(client: &Client, remotes: &LxcRemotes, name: &ImageName) -> Result<Image> {
    if let Some(fingerprint) = find_own(client, name.as_str()).await? {
        return Ok(Image::Local { fingerprint });
    }
    let mut config = None;
    if let Some((remote, alias)) = name.as_str().split_once(':') {
        let config = config.insert(remotes.config(client.kind())?);
        if let Some(image) = find_on_remote(client, remotes, config, remote, alias).await? {
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
        None => Err(unknown_image(client, name, config.as_ref()).await),
    }
}

/// The engine's own image with this alias or fingerprint.
async fn find_own(client: &Client, name: &str) -> Result<Option<Fingerprint>> {
    if let Some(fingerprint) = alias_target(client, name).await? {
        return Ok(Some(fingerprint));
    }
    if name.len() < 8 || !name.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(None);
    }
    match client
        .get::<ImageInfo>(&format!("/1.0/images/{name}"))
        .await
    {
        Ok(found) => Fingerprint::parse(&found.fingerprint).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An image of a remote; `None` for an unknown remote.
async fn find_on_remote(
    client: &Client,
    remotes: &LxcRemotes,
    config: &ClientConfig,
    name: &str,
    alias: &str,
) -> Result<Option<Image>> {
    let remote = config.remote(name);
    match remote.map(|remote| (remote, &remote.protocol)) {
        Some((remote, Protocol::Simplestreams)) => Ok(Some(Image::Simplestreams {
            server: remote.url().to_owned(),
            alias: alias.to_owned(),
            certificate: tls::pinned_certificate(&remote.directory, name)?,
        })),
        Some((_, Protocol::Other(protocol))) => {
            let message = format!("remote `{name}` has an unsupported protocol: `{protocol}`");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None if name != LOCAL => Ok(None),
        _ => {
            let source = remotes.client(config, name)?;
            let fingerprint = find_own(&source, alias).await?.ok_or_else(|| {
                let message = format!("remote `{name}` has no image `{alias}`");
                Error::new(ErrorKind::NotFound, message)
            })?;
            if source.id == client.id {
                return Ok(Some(Image::Local { fingerprint }));
            }
            let image = remote_image(&source, name, remote, fingerprint).await?;
            Ok(Some(Image::Remote(Box::new(image))))
        }
    }
}

/// Data for this engine to download an image of another one.
async fn remote_image(
    source: &Client,
    name: &str,
    remote: Option<&Remote>,
    fingerprint: Fingerprint,
) -> Result<RemoteImage> {
    let (Some(Protocol::Engine(protocol)), Transport::Remote(_)) =
        (remote.map(|remote| &remote.protocol), &source.transport)
    else {
        let message =
            format!("cannot download images of `{name}`: it listens on a Unix socket only");
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("use `image export` there and `image import` here"));
    };
    let path = format!("/1.0/images/{fingerprint}");
    let found: ImageInfo = source.get(&path).await?;
    let secret = if found.public {
        None
    } else {
        Some(request_secret(source, &path).await?)
    };
    let server: Value = source.get("/1.0").await?;
    let certificate = server["environment"]["certificate"].as_str();
    Ok(RemoteImage {
        server: source.id.address.clone(),
        protocol: protocol.clone(),
        fingerprint,
        certificate: certificate.unwrap_or_default().to_owned(),
        secret,
    })
}

/// Requests a one-time secret for a private image.
async fn request_secret(source: &Client, image: &str) -> Result<Secret> {
    let path = format!("{image}/secret");
    let response = source.send("POST", &path, &json!({})).await?;
    let secret = response.metadata["metadata"]["secret"].as_str();
    let secret = secret
        .ok_or_else(|| source.engine_error(ErrorKind::Engine, "no secret in its response"))?;
    Ok(Secret::new(secret.to_owned()))
}

async fn unknown_image(client: &Client, name: &ImageName, config: Option<&ClientConfig>) -> Error {
    let message = format!("{} has no image `{name}`", client.kind());
    let error = Error::new(ErrorKind::NotFound, message);
    let aliases: Vec<Alias> = client
        .get("/1.0/images/aliases?recursion=1")
        .await
        .unwrap_or_default();
    let mut known: Vec<String> = aliases.into_iter().map(|alias| alias.name).collect();
    known.extend(image_names::examples());
    let similar = image_names::similar(name, &known);
    let remotes = config.into_iter().flat_map(ClientConfig::image_sources);
    known.extend(remotes.map(|remote| format!("{remote}:…")));
    error.with_hint(match similar.as_slice() {
        [] => format!("known images: {}", known.join(", ")),
        _ => format!("did you mean {}?", similar.join(" or ")),
    })
}
