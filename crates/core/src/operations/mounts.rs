//! Mounts of an env: consent, whose files they show, and that they still lead where they did.

use super::Operations;
use crate::backend::{Backend, Capabilities, IdPair, Instance, MountOwner, Settings};
use crate::caller::caller;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{EnvName, EnvStatus, InstanceName, UserName};
use crate::project::{Project, ensure_unmoved, ensure_usable_for_root, protect};
use crate::provision;

impl Operations {
    /// The settings of an env's instance, without the owner of its mounts.
    ///
    /// # Errors
    /// `Untrusted` if the file reaches the host without consent; those of [`Project::settings`].
    pub(super) fn settings(&self, project: &Project, env: &EnvName) -> Result<Settings> {
        let settings = project.settings(env, self.home().user_home())?;
        self.trust().ensure(project, env, &settings.mounts)?;
        Ok(settings)
    }

    /// Starts an env's stopped or frozen instance, with its mounts as they should be: an older program, a restore or a change on the host
    /// may have left others.
    ///
    /// # Errors
    /// `Config` if a mount leads elsewhere now; those of the engine.
    pub(super) async fn start_with_mounts(
        &self,
        project: &Project,
        env: &EnvName,
        backend: &dyn Backend,
        instance: &Instance,
    ) -> Result<()> {
        let name = &instance.name;
        let is_frozen = instance.status == EnvStatus::Frozen;
        let is_local = !backend.id().is_remote();
        if is_local && !instance.settings.mounts.is_empty() && !is_frozen {
            ensure_unmoved(&instance.settings.mounts)?;
            let capabilities = backend.capabilities().await?;
            let is_git_writable = project.file().is_git_writable(env)?;
            let mut settings = instance.settings.clone();
            settings.mounts = protect(&settings.mounts, project.directory(), is_git_writable)?;
            let settings = settings.within(&capabilities);
            let user = project.file().user(env)?.name;
            let settings = with_mount_owner(backend, &capabilities, name, &user, settings).await?;
            if settings != instance.settings {
                backend.configure(name, &settings).await?;
            }
        }
        backend.start(name).await
    }
}

/// Fails if a new env cannot have its mounts.
///
/// # Errors
/// `Unsupported` at a remote; `Config` for mounts that root cannot share.
pub(super) fn ensure_mountable(
    backend: &dyn Backend,
    capabilities: &Capabilities,
    settings: &Settings,
) -> Result<()> {
    if settings.mounts.is_empty() {
        return Ok(());
    }
    if backend.id().is_remote() {
        let message = "cannot mount directories of this machine: the engine is on another";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_hint("copy them with `lxc-dev-manager mv`, and remove `mounts:`"));
    }
    if capabilities.bind_mounts && caller().uid == 0 {
        ensure_usable_for_root(&settings.mounts)?;
    }
    Ok(())
}

/// Adds whose files the mounts show: the caller's are those of the env's user.
///
/// # Errors
/// Those of [`ensure_mountable`] and of reading the users of the guest.
pub(super) async fn with_mount_owner(
    backend: &dyn Backend,
    capabilities: &Capabilities,
    name: &InstanceName,
    user: &UserName,
    mut settings: Settings,
) -> Result<Settings> {
    ensure_mountable(backend, capabilities, &settings)?;
    let caller = caller();
    settings.mount_owner = None;
    if !settings.mounts.is_empty() && capabilities.bind_mounts && caller.uid != 0 {
        let (uid, gid) = provision::expected_user_ids(backend, name, user).await?;
        let pair = |host, guest| IdPair { host, guest };
        settings.mount_owner = Some(MountOwner {
            user: pair(caller.uid, uid),
            // Root's group owns files that change the host, as root does.
            group: (caller.gid != 0).then(|| pair(caller.gid, gid)),
        });
    }
    Ok(settings)
}
