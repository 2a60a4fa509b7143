//! `info`

use lxc_dev_manager_core::Result;
use lxc_dev_manager_core::operations::Info;
use lxc_dev_manager_core::view::{EnvView, SnapshotView};
use serde_json::{Value, json};

use super::snapshot::env_view;
use crate::args::EnvOnly;
use crate::context::Context;
use crate::output::Printer;
use crate::table::fields;
use crate::words::{local_time, size};

pub(crate) async fn run(context: &Context, args: EnvOnly) -> Result<()> {
    let project = context.project()?;
    let (info, view) = tokio::try_join!(
        context.operations.info(&project, &args.name),
        env_view(context, &project, &args.name),
    )?;
    let data = data(&info, &view);
    context
        .printer
        .data(&data, |printer| text(printer, &info, &view));
    Ok(())
}

/// The env as in `list`, with the engine's details.
fn data(info: &Info, view: &EnvView) -> Value {
    let mut data = json!(view);
    let usage = info.usage.as_ref();
    let addresses = usage.map(|usage| &usage.addresses);
    data["addresses"] = json!(addresses);
    data["location"] = json!(info.instance.location);
    data["server"] = json!(info.server);
    data["engine_project"] = json!(info.engine.project);
    data["started_at"] = json!(info.instance.started_at);
    data["usage"] = json!(usage.map(|usage| json!({
        "cpu_nanoseconds": usage.cpu_nanoseconds,
        "memory": usage.memory,
        "disk": usage.disk,
        "processes": usage.processes,
    })));
    data
}

fn text(printer: &Printer, info: &Info, view: &EnvView) -> String {
    let usage = info.usage.clone().unwrap_or_default();
    let limits = &info.instance.settings.limits;
    let of = |used: Option<u64>, limit: Option<u64>| match (used, limit) {
        (Some(used), Some(limit)) => format!("{} of {}", size(used), size(limit)),
        (Some(used), None) => size(used),
        (None, Some(limit)) => format!("at most {}", size(limit)),
        (None, None) => String::new(),
    };
    let addresses: Vec<String> = usage.addresses.iter().map(ToString::to_string).collect();
    let ports: Vec<String> = view
        .ports
        .iter()
        .map(|port| port.guest.to_string())
        .collect();
    let cpu = usage.cpu_nanoseconds.map(|nanoseconds| {
        let seconds = nanoseconds / 1_000_000_000;
        format!("{seconds} s since start")
    });
    let cpus = limits.cpus.map(|cpus| format!("{cpus} CPUs"));
    let cpu: Vec<String> = [cpus, cpu].into_iter().flatten().collect();
    let image = view.image.as_ref().map(ToString::to_string);
    let mut text = fields(
        printer,
        &[
            ("Name", printer.bold(view.name.as_str())),
            ("Instance", info.instance.name.to_string()),
            ("Engine", engine(info)),
            ("Status", printer.status_word(view.status)),
            ("Image", image.unwrap_or_default()),
            (
                "Started",
                info.instance
                    .started_at
                    .map_or_else(String::new, local_time),
            ),
            ("Addresses", addresses.join(", ")),
            ("Ports", ports.join(",")),
            ("CPU", cpu.join(", ")),
            ("Memory", of(usage.memory, limits.memory.map(|size| size.0))),
            ("Disk", of(usage.disk, limits.disk.map(|size| size.0))),
            (
                "Processes",
                usage.processes.map_or_else(String::new, |n| n.to_string()),
            ),
            ("Member", info.instance.location.clone().unwrap_or_default()),
        ],
    );
    text.push_str(&snapshots(printer, &view.snapshots));
    text
}

fn engine(info: &Info) -> String {
    let address = &info.engine.address;
    if info.engine.project.is_default() {
        format!("{} at {address}", info.server)
    } else {
        format!(
            "{} at {address}, project {}",
            info.server, info.engine.project
        )
    }
}

fn snapshots(printer: &Printer, snapshots: &[SnapshotView]) -> String {
    if snapshots.is_empty() {
        return String::new();
    }
    let table = super::snapshot::table(printer, snapshots);
    format!("\n{}\n{table}", printer.dim("Snapshots"))
}
