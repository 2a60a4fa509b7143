//! Which image a name means.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::Client;
use crate::backend::Image;
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
}

/// Looks up a local alias exactly as written, a fingerprint, then the built-in names.
pub(super) async fn find(client: &Client, name: &ImageName) -> Result<Image> {
    let path = format!("/1.0/images/aliases/{}", url_part(name.as_str()));
    match client.get::<Alias>(&path).await {
        Ok(alias) => {
            return Ok(Image::Local {
                fingerprint: Fingerprint::parse(&alias.target)?,
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if name.as_str().len() >= 8 && name.as_str().chars().all(|c| c.is_ascii_hexdigit()) {
        match client.get::<Found>(&format!("/1.0/images/{name}")).await {
            Ok(found) => {
                return Ok(Image::Local {
                    fingerprint: Fingerprint::parse(&found.fingerprint)?,
                });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let registry = match client.kind() {
        EngineKind::Lxd => Registry::Lxd,
        _ => Registry::Incus,
    };
    match image_names::resolve(name, registry) {
        Some((server, alias)) => Ok(Image::Simplestreams { server, alias }),
        None => Err(unknown(client, name).await),
    }
}

async fn unknown(client: &Client, name: &ImageName) -> Error {
    let aliases: Vec<Alias> = client
        .get("/1.0/images/aliases?recursion=1")
        .await
        .unwrap_or_default();
    let mut near: Vec<String> = aliases.into_iter().map(|alias| alias.name).collect();
    near.extend(image_names::examples());
    let message = format!("{} knows no image `{name}`", client.kind());
    Error::new(ErrorKind::NotFound, message).with_hint(format!("there are: {}", near.join(", ")))
}
