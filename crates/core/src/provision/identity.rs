//! A guest's identity: host name, machine id and SSH host key.
//!
//! Changed while the guest is stopped, so that a copy never runs with the identity of its source. Missing parts, such
//! as sshd, are skipped.

use futures_util::future::try_join_all;
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::{self, LineEnding};
use russh::keys::{Algorithm, PrivateKey};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::backend::{Backend, Content, GuestFile};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

const SSH_DIRECTORY: &str = "/etc/ssh";
const HOST_KEY: &str = "ssh_host_ed25519_key";
const MACHINE_ID: &str = "/etc/machine-id";
/// Used by older systems; usually a link to [`MACHINE_ID`].
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Renews the identity of a stopped copy. `old` is the name of the source.
///
/// # Errors
/// Those of [`Backend::write_file`].
pub async fn renew(backend: &dyn Backend, name: &InstanceName, old: &InstanceName) -> Result<()> {
    if renews_itself(backend).await? {
        return Ok(());
    }
    tokio::try_join!(
        set_host_name(backend, name, old),
        renew_machine_id(backend, name),
        renew_host_keys(backend, name)
    )
    .map(drop)
}

/// Generates machine ID and host key of a stopped guest from an image.
///
/// # Errors
/// Those of [`Backend::write_file`].
pub async fn generate(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    if renews_itself(backend).await? {
        return Ok(());
    }
    tokio::try_join!(
        renew_machine_id(backend, name),
        renew_host_keys(backend, name)
    )
    .map(drop)
}

/// Changes the host name of a stopped guest.
///
/// # Errors
/// Those of [`Backend::write_file`].
pub async fn set_host_name(
    backend: &dyn Backend,
    name: &InstanceName,
    old: &InstanceName,
) -> Result<()> {
    if renews_itself(backend).await? {
        return Ok(());
    }
    let file = GuestFile::of_root(0o644, format!("{name}\n"));
    let written = backend.write_file(name, "/etc/hostname", file);
    let ((), hosts) = tokio::try_join!(written, read_text(backend, name, "/etc/hosts"))?;
    let Some(hosts) = hosts else {
        return Ok(());
    };
    let renamed = replace_words(&hosts, old.as_str(), name.as_str());
    if renamed == hosts {
        return Ok(());
    }
    let file = GuestFile::of_root(0o644, renamed);
    backend.write_file(name, "/etc/hosts", file).await
}

async fn renews_itself(backend: &dyn Backend) -> Result<bool> {
    Ok(backend.capabilities().await?.renews_identity)
}

/// Replaces whole words; preserves whitespace.
fn replace_words(text: &str, old: &str, new: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|part| {
            if part.trim_end() == old {
                part.replacen(old, new, 1)
            } else {
                part.to_owned()
            }
        })
        .collect()
}

async fn renew_machine_id(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    // A version 4 UUID, as systemd generates.
    let id = Uuid::new_v4().simple();
    for path in [MACHINE_ID, DBUS_MACHINE_ID] {
        // Not a link to the first one.
        if let Some(Content::File(_)) = read_content(backend, name, path).await? {
            let file = GuestFile::of_root(0o444, format!("{id}\n"));
            backend.write_file(name, path, file).await?;
        }
    }
    Ok(())
}

async fn renew_host_keys(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let Some(Content::Directory(files)) = read_content(backend, name, SSH_DIRECTORY).await? else {
        return Ok(());
    };
    let failed = |error: ssh_key::Error| {
        Error::new(ErrorKind::Internal, "cannot create an SSH key").caused_by(error)
    };
    let mut key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(failed)?;
    key.set_comment(name.as_str());
    let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
    let public = key.public_key().to_openssh().map_err(failed)?;
    let others = files.iter().filter(|file| {
        let bare = file.strip_suffix(".pub").unwrap_or(file);
        bare.starts_with("ssh_host_") && bare.ends_with("_key") && bare != HOST_KEY
    });
    let deleted = others.map(|file| async move {
        let path = format!("{SSH_DIRECTORY}/{file}");
        backend.delete_file(name, &path).await
    });
    let write = |file: &str, mode, text: String| {
        let path = format!("{SSH_DIRECTORY}/{file}");
        async move {
            let file = GuestFile::of_root(mode, text);
            backend.write_file(name, &path, file).await
        }
    };
    tokio::try_join!(
        try_join_all(deleted),
        write(HOST_KEY, 0o600, private.to_string()),
        write(&format!("{HOST_KEY}.pub"), 0o644, format!("{public}\n")),
    )
    .map(drop)
}

/// Reads a text file of up to 1 MiB; `None` for any other.
pub(super) async fn read_text(
    backend: &dyn Backend,
    name: &InstanceName,
    path: &str,
) -> Result<Option<String>> {
    let Some(Content::File(from)) = read_content(backend, name, path).await? else {
        return Ok(None);
    };
    let mut text = String::new();
    // Binary and oversized files stay unchanged.
    let read = from
        .take(MAX_TEXT_BYTES + 1)
        .read_to_string(&mut text)
        .await;
    let is_complete = |length: &usize| *length as u64 <= MAX_TEXT_BYTES;
    Ok(read.ok().filter(is_complete).map(|_| text))
}

async fn read_content(
    backend: &dyn Backend,
    name: &InstanceName,
    path: &str,
) -> Result<Option<Content>> {
    match backend.read_file(name, path).await {
        Ok(file) => Ok(Some(file.content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_words_only() {
        let hosts =
            "127.0.0.1\tlocalhost web-dev2\n127.0.1.1  web-dev\tweb-dev.local\n::1 web-dev\n";
        assert_eq!(
            replace_words(hosts, "web-dev", "web-new"),
            "127.0.0.1\tlocalhost web-dev2\n127.0.1.1  web-new\tweb-dev.local\n::1 web-new\n"
        );
    }
}
