//! Promises about images.

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{Image, LaunchSpec, Progress};
use lxc_dev_manager_core::model::{Fingerprint, ImageName, InstanceName, SnapshotName};
use tokio_util::sync::CancellationToken;

use super::files::{read, write};
use super::{Stage, ensure_kind};

fn alias(stage: &Stage, name: &str) -> ImageName {
    ImageName::parse(&format!("{}-{name}", stage.prefix)).unwrap()
}

/// Publishes an image with `/root/file`.
async fn published(stage: &Stage, name: &str) -> Result<(InstanceName, Fingerprint)> {
    let source = stage.create("source").await?;
    write(stage, &source, "/root/file", &stage.prefix).await?;
    let snapshot = SnapshotName::parse("first")?;
    stage
        .backend
        .create_snapshot(&source, &snapshot, None, &Progress::none())
        .await?;
    let image = publish(stage, &source, name).await?;
    Ok((source, image))
}

async fn publish(
    stage: &Stage,
    source: &InstanceName,
    name: &str,
) -> lxc_dev_manager_core::Result<Fingerprint> {
    let (snapshot, cancel) = (SnapshotName::parse("first")?, CancellationToken::new());
    let (alias, progress) = (alias(stage, name), Progress::none());
    stage
        .backend
        .publish(source, &snapshot, &alias, &progress, &cancel)
        .await
}

/// Content of `/root/file` in an instance of the image.
async fn content(stage: &Stage, name: &str) -> Result<String> {
    let spec = LaunchSpec {
        image: stage.backend.find_image(&alias(stage, name)).await?,
        ..stage.spec("made").await?
    };
    let cancel = CancellationToken::new();
    stage
        .backend
        .create(&spec, &Progress::none(), &cancel)
        .await?;
    read(stage, &spec.name, "/root/file").await
}

pub async fn an_image_is_published_and_used(stage: &Stage) -> Result<()> {
    let (source, image) = published(stage, "image").await?;
    let listed = stage.backend.images().await?;
    let listed = listed.iter().find(|found| found.fingerprint == image);
    let listed = listed.context("not listed")?;
    ensure!(
        listed.aliases == [alias(stage, "image").to_string()],
        "{listed:?}"
    );
    ensure!(listed.size > 0 && !listed.cached, "{listed:?}");
    let found = stage.backend.find_image(&alias(stage, "image")).await?;
    let fingerprint = image.clone();
    ensure!(found == Image::Local { fingerprint }, "{found:?}");
    ensure_kind(
        publish(stage, &source, "image").await,
        ErrorKind::AlreadyExists,
    )?;
    ensure!(content(stage, "image").await? == stage.prefix);
    let made = stage.backend.instance(&stage.name("made")).await?;
    ensure!(made.base_image == Some(image), "{made:?}");
    Ok(())
}

pub async fn image_names_can_be_changed_and_are_unique(stage: &Stage) -> Result<()> {
    let (_, image) = published(stage, "old").await?;
    let (old, new) = (alias(stage, "old"), alias(stage, "new"));
    stage.backend.rename_image(&old, &new).await?;
    ensure_kind(stage.backend.find_image(&old).await, ErrorKind::NotFound)?;
    ensure_kind(
        stage.backend.rename_image(&old, &alias(stage, "x")).await,
        ErrorKind::NotFound,
    )?;
    let taken = stage.backend.rename_image(&new, &new).await;
    ensure_kind(taken, ErrorKind::AlreadyExists)?;
    stage.backend.delete_image(&image).await?;
    ensure_kind(stage.backend.find_image(&new).await, ErrorKind::NotFound)?;
    ensure_kind(
        stage.backend.delete_image(&image).await,
        ErrorKind::NotFound,
    )
}

pub async fn an_image_travels_as_a_file(stage: &Stage) -> Result<()> {
    let (_, image) = published(stage, "first").await?;
    let mut bytes = Vec::new();
    let progress = Progress::none();
    stage
        .backend
        .export_image(&image, &mut bytes, &progress)
        .await?;
    // An existing image gets a second alias.
    let taken_in = |bytes: Vec<u8>, name: &str| {
        let (from, alias) = (Box::new(std::io::Cursor::new(bytes)), alias(stage, name));
        async move {
            let progress = Progress::none();
            stage.backend.import_image(from, &alias, &progress).await
        }
    };
    let second = taken_in(bytes.clone(), "second").await?;
    ensure!(second == image, "{second} is not {image}");
    stage.backend.delete_image(&image).await?;
    taken_in(bytes, "third").await?;
    ensure!(content(stage, "third").await? == stage.prefix);
    ensure_kind(taken_in(vec![7; 5000], "fourth").await, ErrorKind::Engine)
}
