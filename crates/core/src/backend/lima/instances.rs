//! Machines as instances.

use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::backend::Lima;
use super::blocking::blocking;
use super::limactl::list;
use super::machine::record::Record;
use super::machine::settings;
use crate::backend::{
    CloneSpec, Instance, Instances, LaunchSpec, Marks, Progress, Settings, Usage,
};
use crate::error::{Error, ErrorKind, Result};
use crate::model::InstanceName;

/// How long to wait for a `limactl` call of a killed process.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(240);

#[async_trait]
impl Instances for Lima {
    async fn instances(&self) -> Result<Vec<Instance>> {
        let statuses = list::statuses(&self.limactl).await?;
        self.inspect_all(true, |name, machine| {
            list::status(statuses.get(name), machine)
        })
    }

    async fn instance(&self, name: &InstanceName) -> Result<Instance> {
        self.ensure_installed()?;
        self.ensure_not_partial(&self.directory(name))?;
        let machine = self.existing(name)?;
        self.inspect(name, machine.status(), true)
    }

    async fn list_brief(&self) -> Result<Vec<Instance>> {
        self.ensure_installed()?;
        self.inspect_all(false, |_, machine| machine.status())
    }

    async fn brief(&self, name: &InstanceName) -> Result<Instance> {
        self.ensure_installed()?;
        let machine = self.existing(name)?;
        self.inspect(name, machine.status(), false)
    }

    async fn usage(&self, name: &InstanceName) -> Result<Usage> {
        self.guest_usage(name).await
    }

    async fn create(
        &self,
        spec: &LaunchSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let new = settings::for_new_machine(spec, &self.templates, &self.image_store())?;
        let mut record = Record::new(&spec.name);
        record.set_marks(&spec.marks);
        record.set_settings(&spec.settings);
        record.base_image = new.base_image;
        record.has_source_id = new.is_copy;
        record.written = new.written;
        record.defaults = new.defaults;
        record.template_mounts = new.template_mounts;
        self.create_machine(&new.yaml, record, &spec.name, progress, cancel)
            .await
    }

    async fn clone_instance(
        &self,
        spec: &CloneSpec,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<()> {
        if cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled by the user"));
        }
        self.ensure_installed()?;
        self.sweep().await;
        let (lima, spec, progress) = (self.clone(), spec.clone(), progress.clone());
        blocking(move || lima.copy_machine(&spec, &progress)).await
    }

    async fn configure(&self, name: &InstanceName, settings: &Settings) -> Result<()> {
        let machine = self.existing(name)?;
        let record = self.record(name, &machine)?;
        settings::apply(&machine, record, settings)
    }

    async fn start(&self, name: &InstanceName) -> Result<()> {
        self.ensure_installed()?;
        self.start_machine(name).await
    }

    async fn stop(&self, name: &InstanceName, force: bool) -> Result<()> {
        self.ensure_installed()?;
        self.stop_machine(name, force).await
    }

    async fn delete(&self, name: &InstanceName) -> Result<()> {
        self.ensure_installed()?;
        self.delete_machine(name).await
    }

    async fn rename(&self, name: &InstanceName, new: &InstanceName) -> Result<()> {
        self.ensure_installed()?;
        self.rename_machine(name, new)
    }

    async fn set_marks(&self, name: &InstanceName, marks: &Marks) -> Result<()> {
        let machine = self.existing(name)?;
        let mut record = self.record(name, &machine)?;
        record.set_marks(marks);
        record.write(&machine)
    }

    async fn settle(&self, name: &InstanceName) -> Result<()> {
        self.limactl.calls().settle(name, SETTLE_TIMEOUT).await?;
        self.sweep_after(name).await;
        Ok(())
    }
}
