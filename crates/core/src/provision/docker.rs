//! Docker in an env.

use super::expect_success;
use crate::backend::{Backend, run_script};
use crate::error::Result;
use crate::model::{InstanceName, UserName};

/// Has Docker run, and lets the user `$1` use it.
pub const INSTALL_DOCKER: &str = include_str!("install_docker.sh");

/// Has Docker run in a guest now and at every boot, and lets a user of it use it. Needs a network where
/// the image lacks Docker.
///
/// # Errors
/// `Guest` with what refused: no package manager that is known here, no network, a kernel that lacks
/// something.
pub async fn install_docker(
    backend: &dyn Backend,
    name: &InstanceName,
    user: &UserName,
) -> Result<()> {
    let arguments = [user.as_str()];
    let output = run_script(backend, name, INSTALL_DOCKER, &arguments, Vec::new()).await?;
    expect_success(&output, format!("cannot have Docker in `{name}`")).map_err(|error| match error
        .hint()
    {
        Some(_) => error,
        None => error.with_hint("`nesting: true` makes an env without it"),
    })
}
