//! Making an env.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Engine;
use super::journal::{Journal, JournalStep};
use super::place::{is_ours, label, not_ours};
use super::recover::{find, is_made_by};
use super::task::Task;
use crate::backend::{Backend, Instance, LaunchSpec, Marks, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::model::{
    EngineKind, EnvName, GuestPort, ImageName, InstanceName, Limits, SnapshotName, UserName,
};
use crate::project::{Change, NewEnv, Project};
use crate::provision::{self, User, identity};
use crate::view::Verb;

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

impl Engine {
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
        let task = tokio::select! {
            begun = self.begin(project, &env, Verb::Create, None) => begun.map_err(failed)?,
            () = cancel.cancelled() => return Err(failed(stopped())),
        };
        let result = self.create_steps(project, plan, &task, cancel).await;
        self.end(task, result.map_err(failed))
    }

    fn plan(&self, project: &Project, request: CreateRequest) -> Result<Plan> {
        let CreateRequest {
            env,
            image,
            ports,
            user: user_name,
            limits,
        } = request;
        let file = project.file();
        expect_no_twin(project, &env)?;
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
        let plan = Plan {
            instance: project.instance(&env)?,
            user,
            settings,
            keys: provision::authorized_keys(&self.home)?,
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
        task: &Task,
        cancel: &CancellationToken,
    ) -> Result<Created> {
        *project = project.fresh()?;
        self.step(task, "looking for the image");
        self.expect_absent(project, &plan.env, &plan.instance)
            .await?;
        let backend = self.home_of(project).await?;
        let spec = LaunchSpec {
            name: plan.instance.clone(),
            image: backend.find_image(&plan.image).await?,
            marks: Marks {
                project: project.name(),
                env: Some(plan.env.clone()),
                path: Some(project.directory().to_path_buf()),
                operation: Some(task.id.clone()),
            },
            settings: plan.settings.clone(),
        };
        let mut journal = self.journal(task, backend.as_ref(), &plan.instance, false)?;
        let made = async {
            self.step(task, "making the instance");
            backend.create(&spec, &self.progress(task), cancel).await?;
            let rest = self.furnish(project, &plan, &spec, task, backend.as_ref(), &mut journal);
            tokio::select! {
                done = rest => done,
                () = cancel.cancelled() => Err(stopped()),
            }
        };
        match made.await {
            Ok(created) => {
                journal.close();
                Ok(created)
            }
            Err(error) => {
                self.step(task, "taking back what was made");
                self.take_back(backend.as_ref(), &plan.instance, journal)
                    .await;
                Err(error)
            }
        }
    }

    /// From an instance that exists to an env that can be used.
    async fn furnish(
        &self,
        project: &mut Project,
        plan: &Plan,
        spec: &LaunchSpec,
        task: &Task,
        backend: &dyn Backend,
        journal: &mut Journal,
    ) -> Result<Created> {
        let name = &plan.instance;
        // Two envs of one image are two machines.
        identity::give(backend, name).await?;
        self.step(task, "starting it");
        backend.start(name).await?;
        self.step(task, "setting up the user");
        let user = async {
            provision::set_up_user(backend, name, &plan.user, &plan.keys).await?;
            provision::start_ssh(backend, name).await
        };
        tokio::try_join!(user, provision::wait_for_network(backend, name))?;
        journal.enter(JournalStep::Committing)?;
        let finished = Marks {
            operation: None,
            ..spec.marks.clone()
        };
        backend.set_marks(name, &finished).await?;
        let initial = self.take_initial(task, backend, name).await?;
        let address = backend.instance(name).await?.address;
        self.registry().add(project.directory())?;
        self.used.add(&self.home, backend.id())?;
        self.forget_copies(&task.env)?;
        // Last, for nothing after it can fail: the env counts from here on.
        project.change(&plan.changes(self.clock.now(), initial))?;
        Ok(Created {
            instance: name.clone(),
            engine: backend.kind(),
            image: plan.image.clone(),
            address,
            user: plan.user.name.clone(),
        })
    }

    /// Takes the snapshot that an env begins with. Where the engine's project forbids snapshots, the env
    /// has none, which is said.
    pub(super) async fn take_initial(
        &self,
        task: &Task,
        backend: &dyn Backend,
        name: &InstanceName,
    ) -> Result<bool> {
        let allowed = backend.capabilities().await?.snapshots;
        if allowed {
            self.step(task, "taking the snapshot `initial-state`");
            let initial = SnapshotName::initial_state();
            backend.snapshot(name, &initial, None).await?;
        } else {
            let project = &backend.id().project;
            self.notice(format!(
                "`{}` has no `initial-state` to go back to: the engine's project `{project}` forbids \
                 snapshots",
                task.env.env
            ));
        }
        Ok(allowed)
    }

    /// Refuses an env that the file has already.
    pub(super) fn expect_new(&self, project: &Project, env: &EnvName) -> Result<()> {
        if project.file().entry(env).is_some() {
            let message = format!("{} has an env `{env}` already", label(project));
            return Err(Error::new(ErrorKind::AlreadyExists, message)
                .with_hint("see which there are: `lxc-dev-manager list`"));
        }
        expect_no_twin(project, env)
    }

    /// Refuses an instance that is there already, and deletes what a killed creation left of it. The
    /// caller holds the env's lock.
    pub(super) async fn expect_absent(
        &self,
        project: &Project,
        env: &EnvName,
        name: &InstanceName,
    ) -> Result<()> {
        let Some(placed) = self.find(name).await? else {
            return Ok(());
        };
        let marks = &placed.instance.marks;
        if !is_ours(marks, project, env) {
            return Err(not_ours(&placed, name));
        }
        if self.is_abandoned(&placed.instance, project)? {
            let text = format!("what a killed create left of `{env}` is deleted");
            self.bus.publish(EventKind::Notice(text));
            return delete_whatever_state(placed.backend.as_ref(), name).await;
        }
        let elsewhere = marks
            .path
            .as_deref()
            .filter(|path| *path != project.directory());
        let (message, hint) = match elsewhere {
            Some(path) => (
                format!("`{name}` was made in another checkout, {}", path.display()),
                "give this checkout a name of its own: change `project:` in its file".to_owned(),
            ),
            None => (
                format!("{} has instance `{name}` already", placed.backend.kind()),
                format!("use it: `lxc-dev-manager up {env}`, or remove it first"),
            ),
        };
        Err(Error::new(ErrorKind::AlreadyExists, message).with_hint(hint))
    }

    /// Whether an instance was never finished, and nobody will: the engine began to make it when the
    /// command that had asked for it was killed and mended already. The caller holds the env's lock.
    fn is_abandoned(&self, instance: &Instance, project: &Project) -> Result<bool> {
        let Some(operation) = &instance.marks.operation else {
            return Ok(false);
        };
        let here = instance.marks.path.as_deref() == Some(project.directory());
        Ok(here && instance.snapshots.is_empty() && !Journal::exists(&self.home, operation)?)
    }

    /// Deletes what a failed creation made, and nothing that somebody else made under that name.
    /// Where that fails too, the journal stays for recovery.
    pub(super) async fn take_back(
        &self,
        backend: &dyn Backend,
        name: &InstanceName,
        journal: Journal,
    ) {
        let taken_back = async {
            match find(backend, name).await? {
                Some(made) if is_made_by(&made, &journal) => {
                    delete_whatever_state(backend, name).await
                }
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

/// Refuses a name that differs from another one's by upper and lower case only.
fn expect_no_twin(project: &Project, env: &EnvName) -> Result<()> {
    let names = project.file().env_names().into_iter();
    let mut twins =
        names.filter(|known| known != env && known.as_str().eq_ignore_ascii_case(env.as_str()));
    match twins.next() {
        None => Ok(()),
        Some(twin) => {
            let message = format!(
                "{} has `{twin}` already: host names fold case",
                label(project)
            );
            Err(Error::new(ErrorKind::AlreadyExists, message))
        }
    }
}

/// Stops and deletes an instance; one that isn't there is deleted already.
pub(super) async fn delete_whatever_state(
    backend: &dyn Backend,
    name: &InstanceName,
) -> Result<()> {
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
