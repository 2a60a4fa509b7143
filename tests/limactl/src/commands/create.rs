//! `create`, `validate` and `rename`.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::Context;
use crate::instance::{Instance, Status};
use crate::yaml::Yaml;
use crate::{disk, log};

/// Like Lima, leaves an instance without a disk behind after a failure.
pub(super) fn create(context: &Context, name: &str, file: &str) -> Result<()> {
    let (home, faults) = (&context.home, &context.faults);
    let yaml = checked(file)?;
    let dir = home.instance(name);
    fs::create_dir_all(home.dir())?;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&dir)
        .with_context(|| format!("instance `{name}` already exists"))?;
    faults.point("create", "dir");
    fs::copy(file, dir.join("lima.yaml"))?;
    faults.point("create", "yaml");
    home.public_key()?;
    disk::create(&yaml, &dir, faults)?;
    faults.point("create", "disk");
    disk::grow(&yaml, &dir)?;
    log::print("info", &format!("created the instance `{name}`"));
    Ok(())
}

pub(super) fn validate(file: &str) -> Result<()> {
    checked(file).map(drop)
}

fn checked(file: &str) -> Result<Yaml> {
    let yaml = Yaml::read(Path::new(file))?;
    ensure!(!yaml.images.is_empty(), "field `images` must be set");
    Ok(yaml)
}

pub(super) fn rename(context: &Context, old: &str, new: &str) -> Result<()> {
    let instance = Instance::find(&context.home, old)?;
    ensure!(
        instance.status == Status::Stopped,
        "cannot rename a running instance"
    );
    fs::rename(&instance.dir, context.home.instance(new))?;
    Ok(())
}
