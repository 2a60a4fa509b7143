//! Instances of an engine.

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{CloneSpec, Instance, LaunchSpec, Marks, Progress, Settings, Usage};
use crate::error::Result;
use crate::model::InstanceName;

/// Creates, changes and lists instances.
#[async_trait]
pub trait Instances: Send + Sync {
    /// All instances, with state and snapshots, in one request.
    async fn instances(&self) -> Result<Vec<Instance>>;

    /// One instance, with state and snapshots.
    async fn instance(&self, name: &InstanceName) -> Result<Instance>;

    /// All instances without snapshots, as fast as the engine allows. An address may be leased, but not in use yet.
    async fn list_brief(&self) -> Result<Vec<Instance>> {
        self.instances().await
    }

    /// One instance without snapshots and address.
    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.instance(name).await
    }

    /// Resource usage.
    async fn usage(&self, name: &InstanceName) -> Result<Usage>;

    /// Creates a stopped instance. May have created it even if cancelled.
    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Creates a stopped copy of an instance or of a snapshot, without snapshots and with its own network address.
    /// The caller renews the identity of the guest. May have created the copy even if cancelled.
    ///
    /// # Errors
    /// `Conflict` if a running source cannot be copied
    /// ([`Capabilities::copies_running`](super::Capabilities::copies_running)).
    async fn clone_instance(
        &self,
        spec: &CloneSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()>;

    /// Applies all settings and unsets absent ones; other options stay. Limits and mounts of a running instance change
    /// immediately.
    ///
    /// # Errors
    /// `Engine` if a value is impossible, such as a disk smaller than its content.
    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()>;

    /// Starts a stopped instance. Commands can run immediately; the address may appear later.
    async fn start(&self, name: &InstanceName) -> Result<()>;

    /// Stops a running instance: requests a shutdown, or kills it with `force`.
    ///
    /// # Errors
    /// `Timeout` if the guest does not shut down.
    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()>;

    /// Deletes a stopped instance with its snapshots.
    async fn delete(&self, name: &InstanceName) -> Result<()>;

    /// Renames a stopped instance.
    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()>;

    /// Replaces our marks.
    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()>;

    /// Waits until the engine has finished its own work on an instance, which a killed process may have started.
    async fn settle(&self, name: &InstanceName) -> Result<()>;
}
