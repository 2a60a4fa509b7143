//! Images: created from an env, listed, renamed, deleted, exported and imported.

pub(super) mod recovery;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::Operations;
use super::instances::start_if_stopped;
use super::journal::{Journal, JournalStep};
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, Progress, StoredImage};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EngineKind, EnvName, Fingerprint, ImageName, InstanceName, SnapshotName};
use crate::project::Project;
use crate::view::OperationKind;

/// The images of an engine.
pub struct ImageStore {
    backend: Arc<dyn Backend>,
}

/// An image created from an env.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub fingerprint: Fingerprint,
    pub engine: EngineKind,
    /// Whether the env was running and runs again.
    pub running: bool,
}

impl Operations {
    /// Creates an image from a snapshot of an env. A running env is stopped for the snapshot only.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias in use; `Unsupported` without snapshots; those of the engine; rolled back.
    pub async fn publish(
        self: &Arc<Self>,
        project: &Project,
        env: &EnvName,
        image: &ImageName,
        cancel: &CancellationToken,
    ) -> Result<Published> {
        let failed =
            |error: Error| error.context(format!("cannot create image `{image}` from `{env}`"));
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
        let project = &project.reopen()?;
        let resolved = self.resolve_own(project, env).await?;
        let ResolvedEnv { backend, instance } = &resolved;
        let store = ImageStore {
            backend: backend.clone(),
        };
        store.ensure_alias_free(image).await?;
        if !backend.capabilities().await?.snapshots {
            let engine = backend.id();
            let message = format!("{engine} forbids snapshots, which images require");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let running = instance.status.is_up();
        if running {
            // A write, as a restart needs one: on a full pool this fails before the env is stopped.
            backend.set_marks(&instance.name, &instance.marks).await?;
        }
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, running)?;
        let copy = recovery::snapshot_of(&journal.record);
        let published = self.publish_with(operation, &resolved, &copy, image, &mut journal, cancel);
        match published.await {
            // The state is unknown: recovery rolls it back.
            Err(error) if error.is_uncertain() => Err(error),
            published => {
                let recovered =
                    recovery::recover(backend.as_ref(), &journal.record, journal.step).await;
                if recovered.is_ok() {
                    journal.close();
                }
                let fingerprint = published?;
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
            self.step(operation, "stopping instance");
            self.stop_or_kill(backend.as_ref(), instance).await?;
        }
        self.step(operation, "taking snapshot");
        // Expires even if recovery never runs.
        let expires_at = Some(self.clock.now() + super::undo_ledger::UNDO_RETENTION);
        backend
            .create_snapshot(&instance.name, copy, expires_at, &self.progress(operation))
            .await?;
        if running {
            self.step(operation, "starting instance again");
            start_if_stopped(backend.as_ref(), &instance.name).await?;
        }
        journal.enter(JournalStep::Committing)?;
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        self.step(operation, "creating image");
        let progress = self.progress(operation);
        backend
            .publish(&instance.name, copy, image, &progress, cancel)
            .await
    }

    /// The images of the project's engine, or of the first reachable engine.
    ///
    /// # Errors
    /// `Unreachable` or `PermissionDenied` without an engine.
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
    /// The engine of the images.
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.backend.kind()
    }

    /// Lists all images: first those with an alias, then by age.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn list(&self) -> Result<Vec<StoredImage>> {
        let mut images = self.backend.images().await?;
        images.sort_by_key(|image| {
            let named = image.aliases.first().cloned();
            (named.is_none(), named, image.created_at)
        });
        Ok(images)
    }

    /// Finds an image by alias or prefix of its fingerprint.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for an ambiguous prefix.
    pub async fn find(&self, name: &ImageName) -> Result<StoredImage> {
        let images = self.list().await?;
        let text = name.as_str();
        let aliased = |image: &&StoredImage| image.aliases.iter().any(|alias| alias == text);
        if let Some(found) = images.iter().find(aliased) {
            return Ok(found.clone());
        }
        let is_prefix = text.len() >= 4 && text.chars().all(|c| c.is_ascii_hexdigit());
        let matches = images
            .iter()
            .filter(|image| is_prefix && image.fingerprint.as_str().starts_with(text));
        match matches.collect::<Vec<_>>().as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let names: Vec<&str> = images
                    .iter()
                    .flat_map(|image| image.aliases.iter().map(String::as_str))
                    .collect();
                let message = format!("{} has no image `{name}`", self.engine());
                let hint = match names.as_slice() {
                    [] => {
                        "list images without an alias: `lxc-dev-manager image list -a`".to_owned()
                    }
                    _ => format!("images: {}", names.join(", ")),
                };
                Err(Error::new(ErrorKind::NotFound, message).with_hint(hint))
            }
            several => {
                let message = format!("{} fingerprints begin with `{name}`", several.len());
                Err(Error::new(ErrorKind::Conflict, message).with_hint("specify more digits"))
            }
        }
    }

    /// Names of the instances that were created from an image. They do not depend on it.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn users(&self, image: &StoredImage) -> Result<Vec<InstanceName>> {
        let instances = self.backend.instances().await?.into_iter();
        let users = instances.filter(|found| found.base_image.as_ref() == Some(&image.fingerprint));
        Ok(users.map(|found| found.name).collect())
    }

    /// Deletes an image with all its aliases.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn delete(&self, image: &StoredImage) -> Result<()> {
        self.backend.delete_image(&image.fingerprint).await
    }

    /// Renames an alias.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` for an alias in use; `Conflict` for a fingerprint.
    pub async fn rename(&self, old: &ImageName, new: &ImageName) -> Result<()> {
        let image = self.find(old).await?;
        if !image.aliases.iter().any(|alias| alias == old.as_str()) {
            let message = format!("`{old}` is a fingerprint, not an alias");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        self.backend.rename_image(old, new).await
    }

    /// Writes an image as one file.
    ///
    /// # Errors
    /// Those of the engine and of writing.
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

    /// Imports an image under an alias.
    ///
    /// # Errors
    /// `AlreadyExists` for an alias in use; `Engine` for an invalid image.
    pub async fn import(
        &self,
        from: Box<dyn AsyncRead + Send + Sync + Unpin>,
        name: &ImageName,
        progress: &Progress,
    ) -> Result<Fingerprint> {
        self.backend.import_image(from, name, progress).await
    }

    /// Fails for an alias in use, before the env is stopped.
    async fn ensure_alias_free(&self, name: &ImageName) -> Result<()> {
        let images = self.backend.images().await?;
        let mut taken = images.iter().flat_map(|image| &image.aliases);
        if !taken.any(|alias| alias == name.as_str()) {
            return Ok(());
        }
        let message = format!("{} already has an image `{name}`", self.engine());
        Err(
            Error::new(ErrorKind::AlreadyExists, message).with_hint(format!(
                "choose another name, or delete the image: `lxc-dev-manager image delete {name}`"
            )),
        )
    }
}
