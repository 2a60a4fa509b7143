//! Creating an env.

pub(super) mod recovery;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Operations;
use super::instances::{find, force_delete, marks};
use super::journal::{Journal, JournalStep};
use super::mounts::{ensure_mountable, with_mount_owner};
use super::name_check::ensure_no_case_conflict;
use super::operation::Operation;
use crate::backend::{Backend, LaunchSpec, Nesting, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{
    EngineKind, EnvName, GuestPort, ImageName, InstanceName, Limits, SnapshotName, UserName,
};
use crate::project::{Change, NewEnv, Project, whole_seconds};
use crate::provision::{self, User, identity};
use crate::view::OperationKind;

/// An env to create. `None` takes the value of the file.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    pub env: EnvName,
    pub image: Option<ImageName>,
    pub ports: Option<Vec<GuestPort>>,
    pub user: Option<UserName>,
    pub limits: Limits,
    /// Keep the env if its setup script fails.
    pub keep: bool,
}

impl CreateRequest {
    /// An env with the values of the file.
    #[must_use]
    pub fn new(env: EnvName) -> Self {
        Self {
            env,
            image: None,
            ports: None,
            user: None,
            limits: Limits::default(),
            keep: false,
        }
    }
}

/// A created env.
#[derive(Debug, Clone)]
pub struct Created {
    pub instance: InstanceName,
    pub engine: EngineKind,
    pub image: ImageName,
    pub address: Option<IpAddr>,
    pub user: UserName,
}

/// The validated request.
struct Plan {
    env: EnvName,
    image: ImageName,
    /// The new entry of the file.
    new: NewEnv,
    instance: InstanceName,
    user: User,
    settings: Settings,
    keys: Vec<String>,
    /// Script to run once as the user.
    setup: Option<Vec<u8>>,
    keep: bool,
}

impl Plan {
    /// Changes of the file, with or without the initial snapshot.
    fn changes(&self, now: Timestamp, snapshot: bool) -> Vec<Change> {
        let snapshot = snapshot.then(|| add_initial_snapshot(&self.env, now));
        let env = Change::AddEnv(self.new.clone());
        [env].into_iter().chain(snapshot).collect()
    }
}

/// The change that adds `initial-state` to the file.
pub(super) fn add_initial_snapshot(env: &EnvName, now: Timestamp) -> Change {
    Change::AddSnapshot {
        env: env.clone(),
        snapshot: SnapshotName::initial_state(),
        description: Some("Initial state after setup".to_owned()),
        created_at: whole_seconds(now),
    }
}

enum SetUpResult {
    Complete(Created),
    /// The setup script failed, and the env is kept for inspection.
    KeptBroken(Error),
}

impl Operations {
    /// Creates an env: instance, user, SSH, file entry and the snapshot `initial-state`.
    ///
    /// # Errors
    /// `AlreadyExists`, `Config`, and those of the engine; rolled back.
    pub async fn create(
        self: &Arc<Self>,
        project: &mut Project,
        request: CreateRequest,
        cancel: &CancellationToken,
    ) -> Result<Created> {
        let env = request.env.clone();
        let failed = |error: Error| error.context(format!("cannot create `{env}`"));
        let plan = self.plan(project, request).map_err(failed)?;
        // `begin` may wait for another process.
        let operation = tokio::select! {
            begun = self.begin(project, &env, OperationKind::Create, None) => begun.map_err(failed)?,
            () = cancel.cancelled() => return Err(failed(Error::cancelled())),
        };
        let result = self.create_steps(project, plan, &operation, cancel).await;
        self.end(operation, result.map_err(failed))
    }

    fn plan(&self, project: &Project, request: CreateRequest) -> Result<Plan> {
        let CreateRequest {
            env,
            image,
            ports,
            user: user_name,
            limits,
            keep,
        } = request;
        let file = project.file();
        ensure_no_case_conflict(project, &env)?;
        let image = image.or_else(|| file.image(&env)).ok_or_else(|| {
            Error::new(ErrorKind::Config, "no image given").with_hint(format!(
                "specify one: `lxc-dev-manager container create {env} debian:12`"
            ))
        })?;
        if ports.is_none() {
            file.ports(&env)?;
        }
        let mut user = file.user(&env)?;
        if let Some(name) = &user_name {
            user.name = name.clone();
        }
        let mut settings = self.settings(project, &env)?;
        settings.limits = limits.or(settings.limits);
        let setup = project.setup(&env)?;
        let plan = Plan {
            instance: project.instance(&env)?,
            user,
            settings,
            keys: provision::authorized_keys(&self.home)?,
            setup: setup.map(|setup| setup.read()).transpose()?,
            keep,
            new: NewEnv {
                ports,
                user: user_name,
                limits,
                ..NewEnv::new(env.clone(), image.clone())
            },
            env,
            image,
        };
        project.check(&plan.changes(self.clock.now(), true))?;
        Ok(plan)
    }

    async fn create_steps(
        self: &Arc<Self>,
        project: &mut Project,
        plan: Plan,
        operation: &Operation,
        cancel: &CancellationToken,
    ) -> Result<Created> {
        *project = project.reopen()?;
        self.step(operation, "finding image");
        self.ensure_absent(project, &plan.env, &plan.instance)
            .await?;
        let backend = self.engine_for_new_env(project).await?;
        let capabilities = backend.capabilities().await?;
        let mut settings = plan.settings.clone().within(&capabilities);
        ensure_mountable(backend.as_ref(), &capabilities, &settings)?;
        // The image says which user owns their files.
        let mounts = if capabilities.bind_mounts {
            std::mem::take(&mut settings.mounts)
        } else {
            Vec::new()
        };
        let spec = LaunchSpec {
            name: plan.instance.clone(),
            image: backend.find_image(&plan.image).await?,
            marks: marks(project, &plan.env, Some(&operation.id)),
            settings,
            user: plan.user.name.clone(),
        };
        let mut journal = self.journal(operation, backend.as_ref(), &plan.instance, false)?;
        let created = async {
            self.step(operation, "creating instance");
            backend
                .create(&spec, &self.progress(operation), cancel)
                .await?;
            if !mounts.is_empty() {
                let (name, user) = (&spec.name, &spec.user);
                let mut settings = spec.settings.clone();
                settings.mounts = mounts;
                let backend = backend.as_ref();
                let settings =
                    with_mount_owner(backend, &capabilities, name, user, settings).await?;
                backend.configure(name, &settings).await?;
            }
            let rest = self.set_up_env(project, &plan, operation, backend.as_ref(), &mut journal);
            tokio::select! {
                done = rest => done,
                () = cancel.cancelled() => Err(Error::cancelled()),
            }
        };
        match created.await {
            Ok(SetUpResult::Complete(created)) => {
                journal.close();
                Ok(created)
            }
            Ok(SetUpResult::KeptBroken(error)) => {
                journal.close();
                Err(error)
            }
            Err(error) => {
                self.step(operation, "rolling back");
                self.roll_back_create(backend.as_ref(), &plan.instance, journal)
                    .await;
                Err(error)
            }
        }
    }

    /// Sets up a created instance and adds it to the file.
    async fn set_up_env(
        self: &Arc<Self>,
        project: &mut Project,
        plan: &Plan,
        operation: &Operation,
        backend: &dyn Backend,
        journal: &mut Journal,
    ) -> Result<SetUpResult> {
        let name = &plan.instance;
        identity::generate(backend, name).await?;
        self.step(operation, "starting instance");
        backend.start(name).await?;
        self.step(operation, "setting up user");
        let user = async {
            provision::set_up_user(backend, name, &plan.user, &plan.keys).await?;
            provision::start_ssh(backend, name).await
        };
        if let Err(error) = tokio::try_join!(user, provision::wait_for_network(backend, name)) {
            return Err(explain_boot_failure(backend, name, error).await);
        }
        if plan.settings.nesting == Nesting::Docker {
            self.step(operation, "installing Docker");
            provision::install_docker(backend, name, &plan.user.name).await?;
        }
        let broken = match self.run_setup(operation, backend, plan).await {
            Err(error) if !plan.keep => return Err(error),
            done => done.err(),
        };
        journal.enter(JournalStep::Committing)?;
        let complete = marks(project, &plan.env, None);
        backend.set_marks(name, &complete).await?;
        // A broken env gets no initial state.
        let initial = match broken {
            None => self.take_initial_snapshot(operation, backend, name).await?,
            Some(_) => false,
        };
        let address = backend.instance(name).await?.address;
        self.registry().add(project.directory())?;
        self.known_engines.add(&self.home, backend.id())?;
        self.delete_snapshot_entries(&operation.env)?;
        // Last: an env in the file is complete.
        project.change(&plan.changes(self.clock.now(), initial))?;
        if let Some(error) = broken {
            let env = &plan.env;
            return Ok(SetUpResult::KeptBroken(error.with_hint(format!(
                "the env is kept: inspect it with `lxc-dev-manager ssh {env}`, delete it with \
                 `lxc-dev-manager remove {env}`"
            ))));
        }
        Ok(SetUpResult::Complete(Created {
            instance: name.clone(),
            engine: backend.kind(),
            image: plan.image.clone(),
            address,
            user: plan.user.name.clone(),
        }))
    }

    /// Runs the file's `setup:` script, if any, and publishes its output.
    async fn run_setup(
        self: &Arc<Self>,
        operation: &Operation,
        backend: &dyn Backend,
        plan: &Plan,
    ) -> Result<()> {
        let Some(script) = plan.setup.clone() else {
            return Ok(());
        };
        self.step(operation, "running setup script");
        let (operations, env) = (self.clone(), operation.env.clone());
        let publish = move |line: &str| {
            operations.bus.publish(EventKind::Output {
                env: env.clone(),
                line: line.to_owned(),
            });
        };
        provision::run_setup(backend, &plan.instance, &plan.user.name, script, publish).await
    }

    /// Takes the snapshot `initial-state`; returns whether the engine's project allows snapshots.
    pub(super) async fn take_initial_snapshot(
        &self,
        operation: &Operation,
        backend: &dyn Backend,
        name: &InstanceName,
    ) -> Result<bool> {
        let allowed = backend.capabilities().await?.snapshots;
        if allowed {
            self.step(operation, "taking snapshot `initial-state`");
            let initial = SnapshotName::initial_state();
            backend
                .create_snapshot(name, &initial, None, &self.progress(operation))
                .await?;
        } else {
            let project = &backend.id().project;
            self.notice(format!(
                "`{}` has no snapshot `initial-state`: the engine's project `{project}` forbids snapshots",
                operation.env.env
            ));
        }
        Ok(allowed)
    }

    /// Deletes the instance that this operation created. If that fails, the journal stays for recovery.
    pub(super) async fn roll_back_create(
        &self,
        backend: &dyn Backend,
        name: &InstanceName,
        journal: Journal,
    ) {
        let rolled_back = async {
            // The engine may still be creating it.
            backend.settle(name).await?;
            match find(backend, name).await? {
                Some(found) if recovery::was_created_by(&found, &journal) => {
                    force_delete(backend, name).await
                }
                _ => Ok(()),
            }
        };
        match rolled_back.await {
            Ok(()) => journal.close(),
            Err(error) => tracing::warn!(%name, ?error, "cannot roll back a create"),
        }
    }
}

/// Replaces the error of a command in a guest that has stopped by itself.
async fn explain_boot_failure(backend: &dyn Backend, name: &InstanceName, error: Error) -> Error {
    match backend.instance(name).await {
        Ok(instance) if !instance.status.is_up() => {
            let message = format!("`{name}` stopped during boot");
            Error::new(ErrorKind::Guest, message)
                .with_hint(
                    "check that this machine can run the image: start an instance with the engine's own client \
                     and read its console",
                )
                .caused_by(error)
        }
        _ => error,
    }
}
