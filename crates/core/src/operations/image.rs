//! Images: made of an env, listed, renamed, deleted, and moved as files.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Operations;
use super::create::stopped;
use super::journal::{Journal, JournalStep, OperationRecord};
use super::operation::Operation;
use super::recovery::{find, restart, start_if_stopped};
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EnvName, Fingerprint, ImageName, InstanceName, SnapshotName};
use crate::project::Project;
use crate::view::OperationKind;

/// The images of one engine.
pub struct ImageStore {
    backend: Arc<dyn Backend>,
}

/// An image that was made of an env.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// The engine that has it.
    pub engine: EngineKind,
    /// The env ran before, and runs again.
    pub running: bool,
}

impl Operations {
    /// Makes an image of an env. A running one is stopped until a snapshot of it is taken; the image is
    /// made of that while it runs again.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias that is taken; those of finding it, and the engine's. Nothing is
    /// left behind then.
    pub async fn publish(
        self: &Arc<Self>,
        project: &Project,
        env: &EnvName,
        image: &ImageName,
        cancel: &CancellationToken,
    ) -> Result<Published> {
        let failed =
            |error: Error| error.context(format!("cannot make image `{image}` of `{env}`"));
        let begun = self.begin(project, env, OperationKind::Publish, None).await;
        let operation = begun.map_err(failed)?;
        let result = self
            .publish_steps(project, env, image, &operation, cancel)
            .await;
        self.end(operation, result.map_err(failed))
    }

    async fn publish_steps(
        self: &Arc<Self>,
        project: &Project,
        env: &EnvName,
        image: &ImageName,
        operation: &Operation,
        cancel: &CancellationToken,
    ) -> Result<Published> {
        let project = &project.fresh()?;
        let resolved = self.resolve(project, env).await?;
        let ResolvedEnv { backend, instance } = &resolved;
        let store = ImageStore {
            backend: backend.clone(),
        };
        store.expect_free(image).await?;
        if !backend.capabilities().await?.snapshots {
            let engine = backend.id();
            let message = format!("{engine} forbids snapshots, which an image is made of");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let running = instance.status.is_up();
        if running {
            // The engines write when they start one, and could not on a full pool: then it stays as it is.
            // They write the same for this, and what a pool says of its room isn't exact enough.
            backend.set_marks(&instance.name, &instance.marks).await?;
        }
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, running)?;
        let copy = snapshot_of(&journal.record);
        let made = self.publish_with(operation, &resolved, &copy, image, &mut journal, cancel);
        match made.await {
            // How far it came is unknown: recovery takes it back.
            Err(error) if error.is_uncertain() => Err(error),
            made => {
                let recovered =
                    recover_publish(backend.as_ref(), &journal.record, journal.step).await;
                if recovered.is_ok() {
                    journal.close();
                }
                let fingerprint = made?;
                recovered?;
                Ok(Published {
                    fingerprint,
                    engine: backend.kind(),
                    running,
                })
            }
        }
    }

    async fn publish_with(
        self: &Arc<Self>,
        operation: &Operation,
        resolved: &ResolvedEnv,
        copy: &SnapshotName,
        image: &ImageName,
        journal: &mut Journal,
        cancel: &CancellationToken,
    ) -> Result<Fingerprint> {
        let ResolvedEnv { backend, instance } = resolved;
        let running = journal.record.was_running;
        if running {
            self.step(operation, "stopping it");
            self.stop_or_kill(backend.as_ref(), instance).await?;
        }
        self.step(operation, "taking a snapshot");
        // It expires by itself, should everything else fail.
        let expires_at = Some(self.clock.now() + super::undo_ledger::UNDO_RETENTION);
        backend
            .snapshot(&instance.name, copy, expires_at, &self.progress(operation))
            .await?;
        if running {
            self.step(operation, "starting it again");
            start_if_stopped(backend.as_ref(), &instance.name).await?;
        }
        journal.enter(JournalStep::Committing)?;
        if cancel.is_cancelled() {
            return Err(stopped());
        }
        self.step(operation, "making the image");
        let progress = self.progress(operation);
        backend
            .publish(&instance.name, copy, image, &progress, cancel)
            .await
    }

    /// The images of the engine that has this project's envs; without a project those of the first
    /// engine that answers.
    ///
    /// # Errors
    /// Why no engine answers.
    pub async fn image_store(&self, project: Option<&Project>) -> Result<ImageStore> {
        if let Some(project) = project {
            let backend = self.engine_for_new_env(project).await?;
            return Ok(ImageStore { backend });
        }
        let mut failures = Vec::new();
        for backend in &self.backends {
            match backend.capabilities().await {
                Ok(_) => {
                    return Ok(ImageStore {
                        backend: backend.clone(),
                    });
                }
                Err(error) => failures.push(error),
            }
        }
        Err(self.no_engine_reachable(failures))
    }
}

impl ImageStore {
    /// Which engine has them.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.backend.kind()
    }

    /// All of them, those with a name first, then by age.
    ///
    /// # Errors
    /// The engine's.
    pub async fn list(&self) -> Result<Vec<StoredImage>> {
        let mut images = self.backend.images().await?;
        images.sort_by_key(|image| {
            let named = image.aliases.first().cloned();
            (named.is_none(), named, image.created_at)
        });
        Ok(images)
    }

    /// The image of this alias, or whose fingerprint begins so.
    ///
    /// # Errors
    /// `NotFound` naming those that are there, `Conflict` for the beginning of several.
    pub async fn find(&self, name: &ImageName) -> Result<StoredImage> {
        let images = self.list().await?;
        let text = name.as_str();
        let aliased = |image: &&StoredImage| image.aliases.iter().any(|alias| alias == text);
        if let Some(found) = images.iter().find(aliased) {
            return Ok(found.clone());
        }
        let is_digits = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit());
        let begins = images
            .iter()
            .filter(|image| is_digits && image.fingerprint.as_str().starts_with(text));
        match begins.collect::<Vec<_>>().as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let names: Vec<&str> = images
                    .iter()
                    .flat_map(|image| image.aliases.iter().map(String::as_str))
                    .collect();
                let message = format!("{} has no image `{name}`", self.engine());
                let hint = match names.as_slice() {
                    [] => "it has none with a name: `lxc-dev-manager image list -a`".to_owned(),
                    _ => format!("there are: {}", names.join(", ")),
                };
                Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
            }
            several => {
                let message = format!("{} images begin with `{name}`", several.len());
                Err(Error::new(ErrorKind::Conflict, message).with_hint("give more digits"))
            }
        }
    }

    /// Names of the instances that were made from an image. They don't need it any more.
    ///
    /// # Errors
    /// The engine's.
    pub async fn users(&self, image: &StoredImage) -> Result<Vec<InstanceName>> {
        let instances = self.backend.instances().await?.into_iter();
        let made = instances.filter(|found| found.base_image.as_ref() == Some(&image.fingerprint));
        Ok(made.map(|found| found.name).collect())
    }

    /// Deletes an image with all its names.
    ///
    /// # Errors
    /// The engine's.
    pub async fn delete(&self, image: &StoredImage) -> Result<()> {
        self.backend.delete_image(&image.fingerprint).await
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// `NotFound` naming those that are there, `AlreadyExists` for a name that is taken.
    pub async fn rename(&self, old: &ImageName, new: &ImageName) -> Result<()> {
        let image = self.find(old).await?;
        if !image.aliases.iter().any(|alias| alias == old.as_str()) {
            let message = format!("`{old}` is a fingerprint, which can't be changed");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.backend.rename_image(old, new).await
    }

    /// Writes an image as one file.
    ///
    /// # Errors
    /// The engine's, and those of writing.
    pub async fn export(
        &self,
        image: &StoredImage,
        to: &mut (dyn AsyncWrite + Send + Unpin),
        progress: &Progress,
    ) -> Result<()> {
        self.backend
            .export_image(&image.fingerprint, to, progress)
            .await
    }

    /// Takes an image in under a name.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; `Engine` for bytes that are no image.
    pub async fn import(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        name: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        // It looks whether the name is free before it takes anything.
        self.backend.import_image(from, name, progress).await
    }

    /// Refuses a name that an image has already: before an env is stopped for it.
    async fn expect_free(&self, name: &ImageName) -> Result<()> {
        let images = self.backend.images().await?;
        let mut taken = images.iter().flat_map(|image| &image.aliases);
        if !taken.any(|alias| alias == name.as_str()) {
            return Ok(());
        }
        let message = format!("{} has an image `{name}` already", self.engine());
        Err(
            Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                "choose another name, or delete that one: `lxc-dev-manager image delete {name}`"
            )),
        )
    }
}

/// The snapshot that an image is made of. Hidden in lists, as undo's are.
fn snapshot_of(record: &OperationRecord) -> SnapshotName {
    SnapshotName::undo(&record.id)
}

/// Ends the making of an image, however far it came: the snapshot goes, and the env runs if it did. The
/// engine makes an image as a whole, so what is there of it is a whole image.
pub(super) async fn recover_publish(
    backend: &dyn Backend,
    record: &OperationRecord,
    step: JournalStep,
) -> Result<&'static str> {
    if find(backend, &record.instance).await?.is_none() {
        return Ok("dropped: the env is gone");
    }
    // Once it was started again, what it does is its user's to say.
    if step == JournalStep::Preparing {
        restart(backend, record).await?;
    }
    let copy = snapshot_of(record);
    match backend.delete_snapshot(&record.instance, &copy).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok("taken back"),
    }
}
