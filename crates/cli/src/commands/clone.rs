//! `container clone`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::operations::CloneRequest;
use serde_json::json;

use crate::args::CloneEnv;
use crate::context::Context;
use crate::progress;

pub(crate) async fn run(context: &Context, args: CloneEnv) -> Result<()> {
    let mut project = context.project()?;
    let request = CloneRequest {
        source: args.source,
        snapshot: args.snapshot,
        env: args.name,
    };
    let cancel = context.cancelled_by_interrupt();
    let cloned = context
        .operations
        .clone_env(&mut project, &request, &cancel);
    let cloned = progress::show(context, cloned).await?;
    let data = json!({
        "project": project.name(),
        "env": request.env,
        "source": request.source,
        "snapshot": request.snapshot,
        "instance": cloned.instance,
        "engine": cloned.engine,
        "user": cloned.user,
    });
    context.printer.done(&data, |printer| {
        let source = match &request.snapshot {
            Some(snapshot) => format!("snapshot {snapshot} of {}", request.source),
            None => request.source.to_string(),
        };
        format!(
            "Cloned {source} to {}: instance {} in {}, user {}\n{}",
            printer.bold(request.env.as_str()),
            cloned.instance,
            cloned.engine,
            cloned.user,
            printer.dim(&format!("next: lxc-dev-manager ssh {}", request.env)),
        )
    });
    Ok(())
}
