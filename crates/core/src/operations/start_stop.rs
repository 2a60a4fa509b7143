//! Starting and stopping an env.

use std::net::IpAddr;

use jiff::SignedDuration;

use super::Operations;
use super::journal::JournalStep;
use super::operation::Operation;
use super::recovery::start_if_stopped;
use super::resolve::ResolvedEnv;
use crate::backend::{Backend, Instance};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, InstanceName};
use crate::project::Project;
use crate::provision;
use crate::view::OperationKind;

/// How long a guest may be in its boot.
const BOOT: SignedDuration = SignedDuration::from_secs(60);

/// An env that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// It ran before.
    pub already: bool,
    /// Its address; `None` where DHCP gave none in time.
    pub address: Option<IpAddr>,
    /// Its engine gives each env an address.
    pub is_addressed: bool,
}

/// An env that doesn't run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// It didn't run before.
    pub already: bool,
    /// Its init didn't end in time, so it was killed.
    pub killed: bool,
}

impl Operations {
    /// Starts an env and waits until it has an address. A running one is a success.
    ///
    /// # Errors
    /// Those of finding it, and the engine's.
    pub async fn start(&self, project: &Project, env: &EnvName) -> Result<Started> {
        let failed = |error: Error| error.context(format!("cannot start `{env}`"));
        let operation = self
            .begin(project, env, OperationKind::Start, None)
            .await
            .map_err(failed)?;
        let result = match self.clear_asleep(project, env) {
            Ok(()) => self.start_steps(project, env, &operation).await,
            Err(error) => Err(error),
        };
        self.end(operation, result.map_err(failed))
    }

    async fn start_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Started> {
        let project = &project.fresh()?;
        let ResolvedEnv { backend, instance } = self.resolve(project, env).await?;
        let name = &instance.name;
        if instance.status == EnvStatus::Running {
            let wait_until_addressed = match instance.address {
                Some(_) => instance.address,
                None => {
                    self.wait_until_addressed(backend.as_ref(), name, operation)
                        .await?
                        .address
                }
            };
            return Ok(Started {
                already: true,
                address: wait_until_addressed,
                is_addressed: backend.capabilities().await?.addresses,
            });
        }
        match backend.start(name).await {
            Err(error) if error.kind() != ErrorKind::Conflict => return Err(error),
            _ => {}
        }
        self.wait_until_addressed(backend.as_ref(), name, operation)
            .await
    }

    /// Stops an env and starts it again; one that didn't run is started.
    ///
    /// # Errors
    /// Those of finding it, and the engine's.
    pub async fn restart(&self, project: &Project, env: &EnvName) -> Result<Started> {
        let failed = |error: Error| error.context(format!("cannot restart `{env}`"));
        let begun = self.begin(project, env, OperationKind::Restart, None).await;
        let operation = begun.map_err(failed)?;
        let result = self.restart_steps(project, env, &operation).await;
        self.end(operation, result.map_err(failed))
    }

    async fn restart_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Started> {
        let project = &project.fresh()?;
        let ResolvedEnv { backend, instance } = self.resolve(project, env).await?;
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, true)?;
        journal.enter(JournalStep::Restarting)?;
        let started = async {
            if instance.status.is_up() {
                self.step(operation, "stopping it");
                self.stop_or_kill(backend.as_ref(), &instance).await?;
            }
            self.step(operation, "starting it");
            start_if_stopped(backend.as_ref(), &instance.name).await?;
            self.wait_until_addressed(backend.as_ref(), &instance.name, operation)
                .await
        };
        match started.await {
            // How far it came is unknown: recovery starts it.
            Err(error) if error.is_uncertain() => Err(error),
            done => {
                journal.close();
                done
            }
        }
    }

    /// Waits for the address of an instance that has just been started.
    async fn wait_until_addressed(
        &self,
        backend: &dyn Backend,
        name: &InstanceName,
        operation: &Operation,
    ) -> Result<Started> {
        self.step(operation, "waiting for its address");
        match provision::wait_for_network(backend, name).await {
            Err(error) if error.kind() != ErrorKind::Timeout => return Err(error),
            _ => {}
        }
        Ok(Started {
            already: false,
            address: backend.instance(name).await?.address,
            is_addressed: backend.capabilities().await?.addresses,
        })
    }

    /// Waits until a running instance has an address.
    pub(crate) async fn wait_for_address(&self, name: &InstanceName) -> Result<()> {
        match self.find(name).await? {
            Some(resolved) => provision::wait_for_network(resolved.backend.as_ref(), name).await,
            None => Ok(()),
        }
    }

    /// Stops an env: asks its init, and kills it where that takes too long. A stopped one is a
    /// success.
    ///
    /// # Errors
    /// Those of finding it, and the engine's.
    pub async fn stop(&self, project: &Project, env: &EnvName) -> Result<Stopped> {
        let failed = |error: Error| error.context(format!("cannot stop `{env}`"));
        let operation = self
            .begin(project, env, OperationKind::Stop, None)
            .await
            .map_err(failed)?;
        // Before it stops: a connection that is open starts it again at once otherwise.
        let result = match self.mark_asleep(project, env) {
            Ok(()) => self.stop_steps(project, env, &operation).await,
            Err(error) => Err(error),
        };
        self.end(operation, result.map_err(failed))
    }

    /// Stops an instance by asking its init. One that has just been started may not heed that yet.
    pub(super) async fn shut_down(&self, backend: &dyn Backend, instance: &Instance) -> Result<()> {
        let age = instance
            .started_at
            .map(|at| self.clock.now().duration_since(at));
        let new = age.is_some_and(|age| age.abs() < BOOT);
        if new && instance.status == EnvStatus::Running {
            // Where that can't be told, stopping it tells.
            if let Err(error) = provision::wait_for_init(backend, &instance.name).await {
                tracing::debug!(?error, "its init can't be waited for");
            }
        }
        if instance.status == EnvStatus::Frozen {
            // A frozen init can't end. Where it stays frozen, it is killed after a while.
            if let Err(error) = backend.start(&instance.name).await {
                tracing::debug!(?error, "it stays frozen");
            }
        }
        backend.stop(&instance.name, false).await
    }

    /// Stops an instance that is up: asks its init, and kills it where that takes too long.
    pub(super) async fn stop_or_kill(
        &self,
        backend: &dyn Backend,
        instance: &Instance,
    ) -> Result<()> {
        match self.shut_down(backend, instance).await {
            Err(error) if error.kind() == ErrorKind::Timeout => force_stop(backend, instance).await,
            Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
            _ => Ok(()),
        }
    }

    async fn stop_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Stopped> {
        let project = &project.fresh()?;
        let ResolvedEnv { backend, instance } = self.resolve(project, env).await?;
        if instance.status == EnvStatus::Stopped {
            return Ok(Stopped {
                already: true,
                killed: false,
            });
        }
        match self.shut_down(backend.as_ref(), &instance).await {
            Ok(()) => Ok(Stopped {
                already: false,
                killed: false,
            }),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(Stopped {
                already: true,
                killed: false,
            }),
            Err(error) if error.kind() == ErrorKind::Timeout => {
                self.step(operation, "its init doesn't end: killing it");
                backend.stop(&instance.name, true).await?;
                Ok(Stopped {
                    already: false,
                    killed: true,
                })
            }
            Err(error) => Err(error),
        }
    }
}

/// Kills an instance; one that doesn't run is a success.
pub(super) async fn force_stop(backend: &dyn Backend, instance: &Instance) -> Result<()> {
    match backend.stop(&instance.name, true).await {
        Err(error) if error.kind() != ErrorKind::Conflict => Err(error),
        _ => Ok(()),
    }
}
