//! Promises about files of running and stopped guests.

use anyhow::{Result, bail, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{Content, GuestFile};
use lxc_dev_manager_core::model::InstanceName;
use tokio::io::AsyncReadExt;

use super::{Stage, ensure_kind};

/// Writes a file owned by root.
pub async fn write(stage: &Stage, name: &InstanceName, path: &str, text: &str) -> Result<()> {
    let file = GuestFile::of_root(0o600, text);
    Ok(stage.backend.write_file(name, path, file).await?)
}

pub async fn read(stage: &Stage, name: &InstanceName, path: &str) -> Result<String> {
    match stage.backend.read_file(name, path).await?.content {
        Content::File(mut from) => {
            let mut text = String::new();
            from.read_to_string(&mut text).await?;
            Ok(text)
        }
        _ => bail!("{path} is not a file"),
    }
}

async fn round_trip(stage: &Stage, name: &InstanceName) -> Result<()> {
    let odd = "/root/a b'\"$(x)\n% &?#ä";
    for path in ["/root/file", odd] {
        write(stage, name, path, "first").await?;
        write(stage, name, path, "2nd").await?;
        ensure!(read(stage, name, path).await? == "2nd", "{path:?}");
        stage.backend.delete_file(name, path).await?;
        ensure_kind(
            stage.backend.read_file(name, path).await.map(drop),
            ErrorKind::NotFound,
        )?;
    }
    Ok(())
}

pub async fn a_file_is_written_read_and_deleted_in_a_stopped_guest(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    round_trip(stage, &name).await
}

pub async fn a_file_is_written_read_and_deleted_in_a_running_guest(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    round_trip(stage, &name).await
}

pub async fn directories_and_links_are_distinguished(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let of = |content| GuestFile {
        content,
        ..GuestFile::of_root(0o755, "")
    };
    let (directory, link) = ("/root/some", "/root/some/link");
    let backend = &stage.backend;
    let made = of(Content::Directory(Vec::new()));
    backend.write_file(&name, directory, made).await?;
    write(stage, &name, "/root/some/file", "x").await?;
    let target = of(Content::Link("file".to_owned()));
    backend.write_file(&name, link, target).await?;
    // An existing directory stays.
    let again = of(Content::Directory(Vec::new()));
    backend.write_file(&name, directory, again).await?;
    match backend.read_file(&name, directory).await?.content {
        Content::Directory(mut names) => {
            names.sort();
            ensure!(names == ["file", "link"], "{names:?}");
        }
        _ => bail!("not a directory"),
    }
    match backend.read_file(&name, link).await?.content {
        Content::Link(target) => ensure!(
            ["file", "/root/some/file"].contains(&target.as_str()),
            "{target:?}"
        ),
        _ => bail!("not a link"),
    }
    Ok(())
}

pub async fn a_missing_directory_is_not_found(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let file = GuestFile::of_root(0o600, "x");
    let written = stage.backend.write_file(&name, "/root/none/file", file);
    ensure_kind(written.await, ErrorKind::NotFound)
}
