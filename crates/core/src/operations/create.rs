//! Making an env.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Operations;
use super::journal::{Journal, JournalStep};

use super::name_check::refuse_case_conflict;
use super::operation::Operation;
use super::recovery::{find, is_made_by};
use crate::backend::{Backend, LaunchSpec, Marks, Nesting, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{
    EngineKind, EnvName, GuestPort, ImageName, InstanceName, Limits, SnapshotName, UserName,
};
use crate::project::{Change, NewEnv, Project};
use crate::provision::{self, User, identity};
use crate::view::OperationKind;

/// What the file says of the snapshot that every env begins with.
pub(super) const INITIAL_DESCRIPTION: &str = "Initial state after setup";

/// A new env.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    /// Its name.
    pub env: EnvName,
    /// Its image; `None` takes what the file names.
    pub image: Option<ImageName>,
    /// Its ports, where they differ from the project's.
    pub ports: Option<Vec<GuestPort>>,
    /// Its user's name, where it differs from the file's.
    pub user: Option<UserName>,
    /// Limits that differ from the file's.
    pub limits: Limits,
    /// Keep the env where its set-up fails.
    pub keep: bool,
}

impl CreateRequest {
    /// An env as the file has it.
    #[must_use]
    pub fn of_file(env: EnvName) -> Self {
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

/// An env that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its instance.
    pub instance: InstanceName,
    /// The engine that has it.
    pub engine: EngineKind,
    /// Its image.
    pub image: ImageName,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its user, without the password.
    pub user: UserName,
}

/// Everything that is known before the first change.
struct Plan {
    env: EnvName,
    image: ImageName,
    /// What the file doesn't say yet.
    new: NewEnv,
    instance: InstanceName,
    user: User,
    settings: Settings,
    keys: Vec<String>,
    /// What is run once as its user.
    setup: Option<Vec<u8>>,
    /// Whether it stays where that fails.
    keep: bool,
}

impl Plan {
    /// What the file will say; the snapshot only where one was taken.
    fn changes(&self, now: jiff::Timestamp, snapshot: bool) -> Vec<Change> {
        let snapshot = snapshot.then(|| Change::AddSnapshot {
            env: self.env.clone(),
            snapshot: SnapshotName::initial_state(),
            description: Some(INITIAL_DESCRIPTION.to_owned()),
            created_at: crate::project::whole_seconds(now),
        });
        let env = Change::AddEnv(self.new.clone());
        [env].into_iter().chain(snapshot).collect()
    }
}

/// How far an env came.
enum SetUpResult {
    /// It can be used.
    Complete(Created),
    /// Its set-up failed, and it is kept to be looked into.
    KeptBroken(Error),
}

impl Operations {
    /// Makes an env: instance, user, SSH, file entry, and the snapshot `initial-state`.
    ///
    /// # Errors
    /// What was wrong, with nothing left behind: names, image and engine are checked before
    /// anything is made, and what was made is taken back.
    pub async fn create(
        self: &Arc<Self>,
        project: &mut Project,
        request: CreateRequest,
        cancel: &CancellationToken,
    ) -> Result<Created> {
        let env = request.env.clone();
        let failed = |error: Error| error.context(format!("cannot create `{env}`"));
        let plan = self.plan(project, request).map_err(failed)?;
        // Begin may wait for another process.
        let operation = tokio::select! {
            begun = self.begin(project, &env, OperationKind::Create, None) => begun.map_err(failed)?,
            () = cancel.cancelled() => return Err(failed(stopped())),
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
        refuse_case_conflict(project, &env)?;
        let image = image.or_else(|| file.image(&env)).ok_or_else(|| {
            Error::new(ErrorKind::Config, "no image is given").with_hint(format!(
                "name one: `lxc-dev-manager container create {env} debian:12`"
            ))
        })?;
        if ports.is_none() {
            file.ports(&env)?;
        }
        let mut user = file.user(&env)?;
        if let Some(name) = &user_name {
            user.name = name.clone();
        }
        let mut settings = project.settings(&env, self.home.user_home())?;
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
        *project = project.fresh()?;
        self.step(operation, "looking for the image");
        self.expect_absent(project, &plan.env, &plan.instance)
            .await?;
        let backend = self.engine_for_new_env(project).await?;
        let spec = LaunchSpec {
            name: plan.instance.clone(),
            image: backend.find_image(&plan.image).await?,
            marks: Marks {
                project: project.name(),
                env: Some(plan.env.clone()),
                path: Some(project.directory().to_path_buf()),
                operation: Some(operation.id.clone()),
            },
            settings: plan.settings.clone().within(&backend.capabilities().await?),
            user: plan.user.name.clone(),
        };
        let mut journal = self.journal(operation, backend.as_ref(), &plan.instance, false)?;
        let made = async {
            self.step(operation, "making the instance");
            backend
                .create(&spec, &self.progress(operation), cancel)
                .await?;
            let rest = self.set_up_env(
                project,
                &plan,
                &spec,
                operation,
                backend.as_ref(),
                &mut journal,
            );
            tokio::select! {
                done = rest => done,
                () = cancel.cancelled() => Err(stopped()),
            }
        };
        match made.await {
            Ok(SetUpResult::Complete(created)) => {
                journal.close();
                Ok(created)
            }
            Ok(SetUpResult::KeptBroken(error)) => {
                journal.close();
                Err(error)
            }
            Err(error) => {
                self.step(operation, "taking back what was made");
                self.roll_back(backend.as_ref(), &plan.instance, journal)
                    .await;
                Err(error)
            }
        }
    }

    /// From an instance that exists to an env that can be used.
    async fn set_up_env(
        self: &Arc<Self>,
        project: &mut Project,
        plan: &Plan,
        spec: &LaunchSpec,
        operation: &Operation,
        backend: &dyn Backend,
        journal: &mut Journal,
    ) -> Result<SetUpResult> {
        let name = &plan.instance;
        // Two envs of one image are two machines.
        identity::give(backend, name).await?;
        self.step(operation, "starting it");
        backend.start(name).await?;
        self.step(operation, "setting up the user");
        let user = async {
            provision::set_up_user(backend, name, &plan.user, &plan.keys).await?;
            provision::start_ssh(backend, name).await
        };
        if let Err(error) = tokio::try_join!(user, provision::wait_for_network(backend, name)) {
            return Err(explain(backend, name, error).await);
        }
        if plan.settings.nesting == Nesting::Docker {
            self.step(operation, "installing Docker");
            provision::install_docker(backend, name, &plan.user.name).await?;
        }
        let broken = match self.set_up(operation, backend, plan).await {
            Err(error) if !plan.keep => return Err(error),
            done => done.err(),
        };
        journal.enter(JournalStep::Committing)?;
        let finished = Marks {
            operation: None,
            ..spec.marks.clone()
        };
        backend.set_marks(name, &finished).await?;
        // What can't be used is no state to go back to.
        let initial = match broken {
            None => self.take_initial(operation, backend, name).await?,
            Some(_) => false,
        };
        let address = backend.instance(name).await?.address;
        self.registry().add(project.directory())?;
        self.known_engines.add(&self.home, backend.id())?;
        self.delete_snapshot_entries(&operation.env)?;
        // Last, for nothing after it can fail: the env counts from here on.
        project.change(&plan.changes(self.clock.now(), initial))?;
        if let Some(error) = broken {
            let env = &plan.env;
            return Ok(SetUpResult::KeptBroken(error.with_hint(format!(
                "it is kept: look into it with `lxc-dev-manager ssh {env}`, then `lxc-dev-manager \
                 remove {env}`"
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

    /// Runs the file's `setup:`, if it has one, and hands on what it prints.
    async fn set_up(
        self: &Arc<Self>,
        operation: &Operation,
        backend: &dyn Backend,
        plan: &Plan,
    ) -> Result<()> {
        let Some(script) = plan.setup.clone() else {
            return Ok(());
        };
        self.step(operation, "running its set-up");
        let (engine, env) = (self.clone(), operation.env.clone());
        let told = move |line: &str| {
            engine.bus.publish(EventKind::Output {
                env: env.clone(),
                line: line.to_owned(),
            });
        };
        provision::run_setup(backend, &plan.instance, &plan.user.name, script, told).await
    }

    /// Takes the snapshot that an env begins with. Where the engine's project forbids snapshots, the env
    /// has none, which is said.
    pub(super) async fn take_initial(
        &self,
        operation: &Operation,
        backend: &dyn Backend,
        name: &InstanceName,
    ) -> Result<bool> {
        let allowed = backend.capabilities().await?.snapshots;
        if allowed {
            self.step(operation, "taking the snapshot `initial-state`");
            let initial = SnapshotName::initial_state();
            backend
                .snapshot(name, &initial, None, &self.progress(operation))
                .await?;
        } else {
            let project = &backend.id().project;
            self.notice(format!(
                "`{}` has no `initial-state` to go back to: the engine's project `{project}` forbids \
                 snapshots",
                operation.env.env
            ));
        }
        Ok(allowed)
    }

    /// Deletes what a failed creation made, and nothing that somebody else made under that name.
    /// Where that fails too, the journal stays for recovery.
    pub(super) async fn roll_back(
        &self,
        backend: &dyn Backend,
        name: &InstanceName,
        journal: Journal,
    ) {
        let taken_back = async {
            match find(backend, name).await? {
                Some(made) if is_made_by(&made, &journal) => force_delete(backend, name).await,
                _ => Ok(()),
            }
        };
        match taken_back.await {
            Ok(()) => journal.close(),
            Err(error) => tracing::warn!(%name, ?error, "what was made could not be taken back"),
        }
    }
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Cancelled, "stopped by the user")
}

/// A guest that stops by itself fails everything that is done in it, and none of that says why.
async fn explain(backend: &dyn Backend, name: &InstanceName, error: Error) -> Error {
    match backend.instance(name).await {
        Ok(instance) if !instance.status.is_up() => {
            let message = format!("`{name}` stopped by itself while it booted");
            Error::new(ErrorKind::Guest, message)
                .with_hint(
                    "see whether this machine can run the image at all: start one by the engine's own \
                     client, and look at its console",
                )
                .caused_by(error)
        }
        _ => error,
    }
}

/// Stops and deletes an instance; one that isn't there is deleted already.
pub(super) async fn force_delete(backend: &dyn Backend, name: &InstanceName) -> Result<()> {
    match backend.stop(name, true).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        // It didn't run, or it is too broken to be stopped: deleting tells.
        _ => {}
    }
    match backend.delete(name).await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
