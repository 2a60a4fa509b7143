//! Promises about instances: names, states, marks, events.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::{BackendEvent, Marks, Progress};
use lxc_dev_manager_core::model::{EnvStatus, ImageName, OperationId};
use lxc_dev_manager_core::provision;
use tokio_util::sync::CancellationToken;

use super::{Stage, ensure_kind};

pub async fn a_missing_instance_is_not_found(stage: &Stage) -> Result<()> {
    let name = stage.name("missing");
    ensure_kind(stage.backend.instance(&name).await, ErrorKind::NotFound)?;
    ensure_kind(stage.backend.start(&name).await, ErrorKind::NotFound)?;
    ensure_kind(stage.backend.stop(&name, true).await, ErrorKind::NotFound)?;
    ensure_kind(stage.backend.delete(&name).await, ErrorKind::NotFound)
}

pub async fn a_name_is_exact(stage: &Stage) -> Result<()> {
    stage.create("dev2").await?;
    ensure_kind(
        stage.backend.instance(&stage.name("dev")).await,
        ErrorKind::NotFound,
    )
}

pub async fn an_unknown_image_is_not_found(stage: &Stage) -> Result<()> {
    let name = ImageName::parse("no-such-image")?;
    let error = stage
        .backend
        .find_image(&name)
        .await
        .err()
        .context("found a missing instance")?;
    ensure!(error.kind() == ErrorKind::NotFound, "{error:?}");
    ensure!(
        error.hint().is_some_and(|hint| hint.contains("debian")),
        "{error:?}"
    );
    Ok(())
}

pub async fn a_second_create_of_a_name_fails(stage: &Stage) -> Result<()> {
    stage.create("dev").await?;
    let second = stage.create("dev").await;
    ensure!(second.is_err(), "created twice");
    ensure!(
        stage.backend.instance(&stage.name("dev")).await.is_ok(),
        "the first instance is gone"
    );
    Ok(())
}

pub async fn a_new_instance_is_stopped_and_marked(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let instance = stage.backend.instance(&name).await?;
    ensure!(instance.status == EnvStatus::Stopped, "{instance:?}");
    ensure!(
        instance.marks == stage.spec("dev").await?.marks,
        "{instance:?}"
    );
    ensure!(instance.address.is_none(), "{instance:?}");
    let listed = stage.backend.instances().await?;
    let listed = listed
        .iter()
        .find(|found| found.name == name)
        .context("not in the list")?;
    ensure!(*listed == instance, "the list differs: {listed:?}");
    Ok(())
}

pub async fn starting_twice_is_a_conflict(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    ensure_kind(stage.backend.start(&name).await, ErrorKind::Conflict)?;
    stage.backend.stop(&name, true).await?;
    ensure_kind(stage.backend.stop(&name, true).await, ErrorKind::Conflict)?;
    ensure_kind(stage.backend.stop(&name, false).await, ErrorKind::Conflict)
}

pub async fn a_cancelled_create_leaves_nothing(stage: &Stage) -> Result<()> {
    let spec = stage.spec("dev").await?;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let result = stage
        .backend
        .create(&spec, &Progress::none(), &cancel)
        .await;
    ensure!(
        result.is_err_and(|error| error.kind() == ErrorKind::Cancelled),
        "not cancelled"
    );
    // Some engines cannot cancel; then the caller rolls back.
    stage.backend.settle(&spec.name).await?;
    if let Ok(instance) = stage.backend.instance(&spec.name).await {
        ensure!(instance.status == EnvStatus::Stopped, "{instance:?}");
        stage.backend.delete(&spec.name).await?;
    }
    ensure_kind(
        stage.backend.instance(&spec.name).await,
        ErrorKind::NotFound,
    )
}

pub async fn a_running_instance_gets_an_address(stage: &Stage) -> Result<()> {
    let name = stage.running("dev").await?;
    provision::wait_for_network(stage.backend.as_ref(), &name).await?;
    let instance = stage.backend.instance(&name).await?;
    let gives = stage.backend.capabilities().await?.addresses;
    ensure!(
        instance.status == EnvStatus::Running && (instance.address.is_some() || !gives),
        "{instance:?}"
    );
    Ok(())
}

pub async fn brief_list_matches_the_full_list(stage: &Stage) -> Result<()> {
    let (running, stopped) = (stage.create("up").await?, stage.create("down").await?);
    stage.backend.start(&running).await?;
    provision::wait_for_network(stage.backend.as_ref(), &running).await?;
    let seen = stage.backend.list_brief().await?;
    for name in [&running, &stopped] {
        let whole = stage.backend.instance(name).await?;
        let brief = seen.iter().find(|instance| instance.name == *name);
        let brief = brief.with_context(|| format!("{name} is not listed"))?;
        ensure!(brief.status == whole.status, "{brief:?} is not {whole:?}");
        ensure!(brief.marks == whole.marks, "{brief:?} is not {whole:?}");
        ensure!(
            brief.settings == whole.settings,
            "{brief:?} is not {whole:?}"
        );
        ensure!(brief.address == whole.address, "{brief:?} is not {whole:?}");
        let one = stage.backend.brief(name).await?;
        ensure!(one.status == whole.status, "{one:?} is not {whole:?}");
        ensure!(one.marks == whole.marks, "{one:?} is not {whole:?}");
    }
    let missing = stage.backend.brief(&stage.name("missing")).await;
    ensure_kind(missing, ErrorKind::NotFound)
}

pub async fn a_renamed_instance_has_only_its_new_name(stage: &Stage) -> Result<()> {
    let name = stage.create("old").await?;
    let new = stage.name("new");
    stage.backend.rename(&name, &new).await?;
    ensure_kind(stage.backend.instance(&name).await, ErrorKind::NotFound)?;
    ensure!(
        stage.backend.instance(&new).await?.name == new,
        "wrong name"
    );
    Ok(())
}

pub async fn marks_can_be_replaced(stage: &Stage) -> Result<()> {
    let name = stage.create("dev").await?;
    let mut marks = stage.backend.instance(&name).await?.marks;
    marks.operation = Some(OperationId::random());
    stage.backend.set_marks(&name, &marks).await?;
    ensure!(
        stage.backend.instance(&name).await?.marks == marks,
        "not replaced"
    );
    stage.backend.set_marks(&name, &Marks::default()).await?;
    ensure!(
        stage.backend.instance(&name).await?.marks.is_empty(),
        "not removed"
    );
    Ok(())
}

pub async fn changes_are_reported(stage: &Stage) -> Result<()> {
    let mut events = stage.backend.events().await?;
    let name = stage.running("dev").await?;
    let mut seen = Vec::new();
    let timeout = Duration::from_secs(30);
    let started = BackendEvent::Started(name.clone());
    while !seen.contains(&started) {
        let event = tokio::time::timeout(timeout, events.next()).await?;
        seen.push(event.context("the stream ended")?);
    }
    ensure!(
        seen.contains(&BackendEvent::Changed(name.clone())),
        "{seen:?}"
    );
    stage.backend.stop(&name, true).await?;
    loop {
        let event = tokio::time::timeout(timeout, events.next()).await?;
        if event.context("the stream ended")? == BackendEvent::Changed(name.clone()) {
            return Ok(());
        }
    }
}
