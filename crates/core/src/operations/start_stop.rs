//! Starting and stopping an env.

use std::net::IpAddr;

use super::Operations;
use super::instances::ignore_conflict;
use super::journal::JournalStep;
use super::operation::Operation;
use super::resolve::ResolvedEnv;
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, InstanceName};
use crate::project::Project;
use crate::provision;
use crate::view::OperationKind;

/// A running env.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// Whether it was already running.
    pub already: bool,
    /// `None` if DHCP assigned none in time.
    pub address: Option<IpAddr>,
    /// Whether the engine assigns addresses to envs.
    pub is_addressed: bool,
}

/// A stopped env.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Whether it was already stopped.
    pub already: bool,
    /// Whether it was killed after a timeout.
    pub killed: bool,
}

impl Operations {
    /// Starts an env and waits for its address. A running env is a success.
    ///
    /// # Errors
    /// Those of finding the env and of the engine.
    pub async fn start(&self, project: &Project, env: &EnvName) -> Result<Started> {
        let failed = |error: Error| error.context(format!("cannot start `{env}`"));
        let operation = self
            .begin(project, env, OperationKind::Start, None)
            .await
            .map_err(failed)?;
        let result = self.start_steps(project, env, &operation).await;
        self.end(operation, result.map_err(failed))
    }

    async fn start_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Started> {
        self.delete_sleep_mark(&project.instance(env)?)?;
        let project = &project.reopen()?;
        let ResolvedEnv { backend, instance } = self.resolve_own(project, env).await?;
        let name = &instance.name;
        if instance.status == EnvStatus::Running {
            let address = match instance.address {
                Some(_) => instance.address,
                None => {
                    self.wait_until_addressed(backend.as_ref(), name, operation)
                        .await?
                        .address
                }
            };
            return Ok(Started {
                already: true,
                address,
                is_addressed: backend.capabilities().await?.addresses,
            });
        }
        let backend = backend.as_ref();
        ignore_conflict(
            self.start_with_mounts(project, env, backend, &instance)
                .await,
        )?;
        self.wait_until_addressed(backend, name, operation).await
    }

    /// Restarts an env; a stopped one is started.
    ///
    /// # Errors
    /// Those of finding the env and of the engine.
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
        let project = &project.reopen()?;
        let ResolvedEnv { backend, instance } = self.resolve_own(project, env).await?;
        let mut journal = self.journal(operation, backend.as_ref(), &instance.name, true)?;
        journal.enter(JournalStep::Restarting)?;
        let started = async {
            if instance.status.is_up() {
                self.step(operation, "stopping instance");
                self.stop_or_kill(backend.as_ref(), &instance).await?;
            }
            self.step(operation, "starting instance");
            let started = self.start_with_mounts(project, env, backend.as_ref(), &instance);
            ignore_conflict(started.await)?;
            self.wait_until_addressed(backend.as_ref(), &instance.name, operation)
                .await
        };
        match started.await {
            // The state is unknown: recovery starts it.
            Err(error) if error.is_uncertain() => Err(error),
            done => {
                journal.close();
                done
            }
        }
    }

    /// Waits for the address of a started instance.
    async fn wait_until_addressed(
        &self,
        backend: &dyn Backend,
        name: &InstanceName,
        operation: &Operation,
    ) -> Result<Started> {
        self.step(operation, "waiting for network address");
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

    /// Waits for the address of a running instance.
    pub(crate) async fn wait_for_address(&self, name: &InstanceName) -> Result<()> {
        match self.find(name).await? {
            Some(resolved) => provision::wait_for_network(resolved.backend.as_ref(), name).await,
            None => Ok(()),
        }
    }

    /// Shuts an env down, and kills it after a timeout. A stopped env is a success.
    ///
    /// # Errors
    /// Those of finding the env and of the engine.
    pub async fn stop(&self, project: &Project, env: &EnvName) -> Result<Stopped> {
        let failed = |error: Error| error.context(format!("cannot stop `{env}`"));
        let operation = self
            .begin(project, env, OperationKind::Stop, None)
            .await
            .map_err(failed)?;
        let result = self.stop_steps(project, env, &operation).await;
        self.end(operation, result.map_err(failed))
    }

    async fn stop_steps(
        &self,
        project: &Project,
        env: &EnvName,
        operation: &Operation,
    ) -> Result<Stopped> {
        // Before the stop: an open connection would start the env again at once.
        self.mark_asleep(project, env)?;
        let project = &project.reopen()?;
        let ResolvedEnv { backend, instance } = self.resolve_own(project, env).await?;
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
                self.step(operation, "killing instance: its init did not shut down");
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
