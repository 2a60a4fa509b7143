//! `nesting: docker` in a real VM, which downloads Docker from its distribution. Not on the stand-in: its guests are
//! user namespaces without device nodes and overlay mounts, so Docker does not start.

use std::fs;

use anyhow::Result;
use libtest_mimic::Trial;
use lxc_dev_manager_tests::docker::{booted, runs, runs_again};
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    let name = "docker::docker_works_after_restart";
    lima.real_trial(name, containers_run)
}

fn containers_run(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Debian)?;
    let text = "project: web\nbackend: lima\ndefaults: {nesting: docker}\n";
    fs::write(stage.path("project/containers.yaml"), text)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let ok = |arguments: &[&str]| project.ok(arguments);
    runs(ok)?;
    project.ok(&["restart", "dev"])?;
    booted(ok)?;
    runs_again(ok)
}
