//! `list`, with the fields that our backend reads.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use super::Context;
use crate::instance::{Instance, Status};

pub(super) fn json(context: &Context) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for name in context.home.instances()? {
        // Status without a lima.yaml.
        let status =
            Instance::find(&context.home, &name).map_or(Status::Broken, |found| found.status);
        writeln!(out, "{}", json!({"name": name, "status": status.word()}))?;
    }
    Ok(())
}

pub(super) fn names(context: &Context) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for name in context.home.instances()? {
        writeln!(out, "{name}")?;
    }
    Ok(())
}
