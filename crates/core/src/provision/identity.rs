//! Who a guest is: its host name, its machine id and its SSH host key.
//!
//! Written from outside while the guest is stopped, so a copy never runs as the one that it was copied
//! from, and needs no program of its own for it. What a guest doesn't have (sshd, a machine id) is left
//! out.

use futures_util::future::try_join_all;
use ssh_key::rand_core::{OsRng, RngCore};
use ssh_key::{Algorithm, LineEnding, PrivateKey};
use tokio::io::AsyncReadExt;

use crate::backend::{Backend, Content, GuestFile};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

const SSH: &str = "/etc/ssh";
/// The one kind of host key that every client takes.
const HOST_KEY: &str = "ssh_host_ed25519_key";
const MACHINE_ID: &str = "/etc/machine-id";
/// Older systems have a second one, mostly a link to the first.
const DBUS_MACHINE_ID: &str = "/var/lib/dbus/machine-id";
/// Bytes of `/etc/hosts` that are looked at.
const HOSTS_LIMIT: u64 = 1 << 20;

/// Makes a stopped guest another one than that from which it was copied; `old` is the name that it had
/// there.
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

/// Gives a stopped guest that was made from an image a machine id and a host key of its own.
///
/// # Errors
/// Those of [`Backend::write_file`].
pub async fn give(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    if renews_itself(backend).await? {
        return Ok(());
    }
    tokio::try_join!(
        renew_machine_id(backend, name),
        renew_host_keys(backend, name)
    )
    .map(drop)
}

/// Calls a stopped guest by another name.
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

/// Whether the engine does all of this when the guest starts.
async fn renews_itself(backend: &dyn Backend) -> Result<bool> {
    Ok(backend.capabilities().await?.renews_identity)
}

/// Replaces whole words, and leaves all blanks as they are.
fn replace_words(text: &str, old: &str, new: &str) -> String {
    text.split_inclusive(char::is_whitespace)
        .map(|part| match part.trim_end() == old {
            true => part.replacen(old, new, 1),
            false => part.to_owned(),
        })
        .collect()
}

async fn renew_machine_id(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let mut random = [0; 16];
    OsRng.fill_bytes(&mut random);
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    for path in [MACHINE_ID, DBUS_MACHINE_ID] {
        // A link leads to the first one.
        if let Some(Content::File(_)) = look(backend, name, path).await? {
            let file = GuestFile::of_root(0o444, format!("{id}\n"));
            backend.write_file(name, path, file).await?;
        }
    }
    Ok(())
}

async fn renew_host_keys(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    let Some(Content::Directory(files)) = look(backend, name, SSH).await? else {
        return Ok(());
    };
    let failed = |error: ssh_key::Error| {
        Error::new(ErrorKind::Internal, "cannot make an SSH key").caused_by(error)
    };
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(failed)?;
    key.set_comment(name.as_str());
    let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
    let public = key.public_key().to_openssh().map_err(failed)?;
    let others = files.iter().filter(|file| {
        let bare = file.strip_suffix(".pub").unwrap_or(file);
        bare.starts_with("ssh_host_") && bare.ends_with("_key") && bare != HOST_KEY
    });
    let deleted = others.map(|file| async move {
        let path = format!("{SSH}/{file}");
        backend.delete_file(name, &path).await
    });
    let write = |file: &str, mode, text: String| {
        let path = format!("{SSH}/{file}");
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

async fn read_text(
    backend: &dyn Backend,
    name: &InstanceName,
    path: &str,
) -> Result<Option<String>> {
    let Some(Content::File(from)) = look(backend, name, path).await? else {
        return Ok(None);
    };
    let mut text = String::new();
    // What isn't text, or is too much of it, isn't ours to change.
    let read = from.take(HOSTS_LIMIT + 1).read_to_string(&mut text).await;
    let whole = |length: &usize| *length as u64 <= HOSTS_LIMIT;
    Ok(read.ok().filter(whole).map(|_| text))
}

/// What stands at a path, if anything does.
async fn look(backend: &dyn Backend, name: &InstanceName, path: &str) -> Result<Option<Content>> {
    match backend.read_file(name, path).await {
        Ok(found) => Ok(Some(found.content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_replaced() {
        let hosts =
            "127.0.0.1\tlocalhost web-dev2\n127.0.1.1  web-dev\tweb-dev.local\n::1 web-dev\n";
        assert_eq!(
            replace_words(hosts, "web-dev", "web-new"),
            "127.0.0.1\tlocalhost web-dev2\n127.0.1.1  web-new\tweb-dev.local\n::1 web-new\n"
        );
    }
}
