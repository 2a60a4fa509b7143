//! Docker in an env.

use super::ensure_success;
use crate::backend::{Backend, run_script};
use crate::error::Result;
use crate::model::{InstanceName, UserName};

/// Installs and starts Docker. `$1` user.
pub const INSTALL_DOCKER: &str = include_str!("install_docker.sh");

/// Installs Docker if missing, enables and starts it, and adds the user to its group. Needs a network if the image
/// lacks Docker.
///
/// # Errors
/// `Guest` with the cause: no supported package manager, no network, an unsuitable kernel.
pub async fn install_docker(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
) -> Result<()> {
    let arguments = [user.as_str()];
    let output = run_script(backend, name, INSTALL_DOCKER, &arguments, Vec::new()).await?;
    ensure_success(&output, format!("cannot set up Docker in `{name}`")).map_err(
        |error| match error.hint() {
            Some(_) => error,
            None => error.with_hint("use `nesting: true` for an env without Docker"),
        },
    )
}
