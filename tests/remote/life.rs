//! The life of an instance, from creation to deletion.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{
    Backend, BackendEvent, ExecSpec, LaunchSpec, Marks, Progress, Settings, capture,
};
use lxc_dev_manager_core::model::{ImageName, InstanceName, SnapshotName};
use lxc_dev_manager_tests::engines::image;
use tokio_util::sync::CancellationToken;

const EVENT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

pub fn on_runtime(test: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(test)
}

/// Checks kind and words of an error.
pub fn expect<T>(
    result: lxc_dev_manager_core::Result<T>,
    kind: ErrorKind,
    words: &[&str],
) -> Result<()> {
    let Err(error) = result else {
        bail!("unexpected success");
    };
    let said = format!("{}; {}", error.report().message, error.hint().unwrap_or(""));
    ensure!(error.kind() == kind, "{:?}: {said}", error.kind());
    for word in words {
        ensure!(said.contains(word), "no {word:?}: {said}");
    }
    Ok(())
}

/// A unique name.
pub fn name() -> Result<InstanceName> {
    let random = uuid::Uuid::new_v4().simple().to_string();
    Ok(InstanceName::parse(&format!("r{}-dev", &random[..8]))?)
}

/// Creates a stopped instance.
pub async fn create(backend: &dyn Backend, name: &InstanceName, image: &str) -> Result<()> {
    let spec = LaunchSpec {
        name: name.clone(),
        image: backend.find_image(&ImageName::parse(image)?).await?,
        marks: Marks::default(),
        settings: Settings::default(),
        user: lxc_dev_manager_core::model::UserName::dev(),
    };
    let (progress, cancel) = (Progress::none(), CancellationToken::new());
    Ok(backend.create(&spec, &progress, &cancel).await?)
}

/// Deletes an instance in any state.
pub async fn delete(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    // It may be stopped already. Deletion reports errors.
    let _ = backend.stop(name, true).await;
    Ok(backend.delete(name).await?)
}

pub async fn said(backend: &dyn Backend, name: &InstanceName, argv: &[&str]) -> Result<String> {
    let spec = ExecSpec::new(argv.iter().copied());
    let output = capture(backend, name, &spec, b"from outside".to_vec()).await?;
    ensure!(output.code == 0, "{argv:?} ended with {}", output.code);
    Ok(String::from_utf8(output.stdout)?)
}

/// Creates an instance, lists it, runs a command, restores a snapshot, and deletes it.
pub async fn whole(backend: &Arc<dyn Backend>) -> Result<()> {
    let name = name()?;
    let lived = live(backend.as_ref(), &name).await;
    let deleted = delete(backend.as_ref(), &name).await;
    lived?;
    deleted?;
    expect(backend.instance(&name).await, ErrorKind::NotFound, &[])
}

async fn live(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    create(backend, name, &image()).await?;
    backend.start(name).await?;
    let listed = backend.instances().await?;
    ensure!(listed.iter().any(|found| found.name == *name), "not listed");
    ensure!(said(backend, name, &["cat"]).await? == "from outside");
    said(backend, name, &["tee", "/root/file"]).await?;
    // Stopped, because LXD cannot snapshot a guest whose boot deletes files meanwhile.
    backend.stop(name, true).await?;
    let snapshot = SnapshotName::parse("first")?;
    backend
        .create_snapshot(name, &snapshot, None, &Progress::none())
        .await?;
    backend.start(name).await?;
    said(backend, name, &["rm", "/root/file"]).await?;
    backend.stop(name, true).await?;
    backend.restore(name, &snapshot, &Progress::none()).await?;
    backend.start(name).await?;
    ensure!(said(backend, name, &["cat", "/root/file"]).await? == "from outside");
    let listed = backend.list_brief().await?;
    ensure!(listed.iter().any(|found| found.name == *name), "not listed");
    Ok(())
}

/// Checks the event for a start.
pub async fn told(backend: &Arc<dyn Backend>) -> Result<()> {
    let name = name()?;
    let mut events = backend.events().await?;
    create(backend.as_ref(), &name, &image()).await?;
    let started = backend.start(&name).await;
    let seen = async {
        started?;
        loop {
            let event = tokio::time::timeout(EVENT_TIMEOUT, events.next()).await?;
            if event.context("the stream ended")? == BackendEvent::Started(name.clone()) {
                return anyhow::Ok(());
            }
        }
    };
    let seen = seen.await;
    let deleted = delete(backend.as_ref(), &name).await;
    seen?;
    deleted
}
