//! Instances of an engine.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{CloneSpec, Instance, LaunchSpec, Marks, Progress, Settings, Usage};
use crate::error::Result;
use crate::model::InstanceName;

/// Instances: creation, state and settings.
#[async_trait]
pub trait Instances: Send + Sync {
    /// All instances with state and snapshots, in one request.
    async fn instances(&self) -> Result<Vec<Instance>>;

    /// One instance with state and snapshots.
    async fn instance(&self, name: &InstanceName) -> Result<Instance>;

    /// All instances without their snapshots, in as little time as the engine allows. An address may
    /// be the one that the engine has leased to it, whether the guest uses it yet or not.
    async fn list_brief(&self) -> Result<Vec<Instance>> {
        self.instances().await
    }

    /// One instance without its snapshots and its address.
    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.instance(name).await
    }

    /// What an instance uses now.
    async fn usage(&self, name: &InstanceName) -> Result<Usage>;

    /// Makes an instance; it is stopped then. Where it is cancelled, the caller looks whether there is
    /// one.
    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Makes a copy of an instance or of one of its snapshots, without its other snapshots; it is stopped
    /// then, with a network address of its own. Everything else is as in the source: who it is inside is
    /// the caller's to change. Where it is cancelled, the caller looks whether there is one.
    ///
    /// # Errors
    /// `Conflict` for a running source that can't be copied as it is
    /// ([`Capabilities::copies_running`]).
    async fn clone_instance(
        &self,
        spec: &CloneSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Sets what stands in the file, and unsets what doesn't; the rest stays. Limits and mounts of a
    /// running instance change at once.
    ///
    /// # Errors
    /// `Engine` for what it can't do (a disk that would be smaller than what is on it, say).
    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()>;

    /// Starts a stopped instance. Commands can be run in it from then on; its address may come later.
    async fn start(&self, name: &InstanceName) -> Result<()>;

    /// Stops a running instance: asks its init, and where `force` is set kills it.
    ///
    /// # Errors
    /// `Timeout` where its init doesn't end in time.
    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()>;

    /// Deletes a stopped instance with its snapshots.
    async fn delete(&self, name: &InstanceName) -> Result<()>;

    /// Gives a stopped instance another name.
    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()>;

    /// Replaces our marks on an instance.
    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()>;

    /// Waits for what the engine itself still does on an instance: work that a killed caller began.
    async fn settle(&self, name: &InstanceName) -> Result<()>;
}
