//! `nesting: docker` in a real machine, which gets Docker of its distribution's servers. The stand-in's guests are namespaces of
//! an ordinary user, who may not create devices or mount overlays: Docker doesn't start there.

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
