//! `adopt`: existing instances become envs of the project.

use lxc_dev_manager_core::Result;
use serde_json::json;

use super::multi_env::{Done, each};
use crate::args::Adopt;
use crate::context::Context;

pub(crate) async fn run(context: &Context, args: Adopt) -> Result<u8> {
    let project = context.project()?;
    each(context, &project, &args.names, async |project, env| {
        let is_new = context.operations.adopt(&project, &env).await?;
        let text = if is_new {
            format!("Adopted {env}")
        } else {
            format!("{env} is already an env of this project")
        };
        Ok(Done {
            data: json!({ "env": env, "adopted": is_new }),
            text,
        })
    })
    .await
}
