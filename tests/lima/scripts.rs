//! Scripts of templates: the exit code counts, the output does not.

use std::fs::{self, OpenOptions};
use std::io::Write;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.fake_trial(
            "scripts::a_failing_one_fails_the_env_and_shows_its_log",
            fails,
        ),
        lima.fake_trial("scripts::a_warning_in_the_output_is_no_failure", warns),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Adds scripts to the template.
fn provision(stage: &LimaStage, scripts: &[(&str, &str)]) -> Result<()> {
    let path = stage.path("state/templates/debian-12.yaml");
    let mut file = OpenOptions::new().append(true).open(path)?;
    writeln!(file, "provision:")?;
    for (mode, script) in scripts {
        let script = serde_json::to_string(script)?;
        writeln!(file, "- {{mode: {mode}, script: {script}}}")?;
    }
    Ok(())
}

fn fails(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let good = "#!/bin/sh\necho good\n";
    let bad = "#!/bin/bash\nfor i in 1 2 3; do echo \"it's line $i\"; done\nexit 7\n";
    provision(stage, &[("system", good), ("user", bad)])?;
    let words = "`provision:` script 2 of the template failed in `web-dev`: exit code 7";
    let failed = project.refused(&["container", "create", "dev", "debian:12"], words)?;
    for line in 1..=3 {
        let line = format!("it's line {line}\n");
        ensure!(failed.stderr.contains(&line), "{failed:?}");
    }
    ensure!(!failed.stderr.contains("good"), "{failed:?}");
    ensure!(!stage.instance("web-dev").exists(), "not deleted");
    Ok(())
}

fn warns(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let words = "#!/bin/sh\necho \"LIMA now| WARNING: Failed to execute /mnt/lima-cidata/provision.system/00000000\"\n\
        printf '%s' \"$0 $(id -u)\" >>\"/tmp/ran-$(id -u)\"\n";
    provision(stage, &[("system", words), ("user", words)])?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    project.ok(&["down", "dev"])?;
    project.ok(&["up", "dev"])?;
    // Both scripts ran at each boot, without leftovers.
    let ran = project.ok(&["exec", "dev", "--", "cat", "/tmp/ran-0", "/tmp/ran-1000"])?;
    let count = |home: &str| ran.matches(&format!("{home}/.ldm-provision.")).count();
    ensure!(
        count("/root") >= 2 && count("/root") == count("/home/dev"),
        "{ran}"
    );
    let script = "ls -A /home/dev; ls -A /root; ls -d /run/lxc-dev-manager-provision";
    let left = project.run(&["exec", "-u", "root", "dev", "--", "sh", "-c", script])?;
    ensure!(!left.stdout.contains("provision"), "{left:?}");
    let yaml = fs::read_to_string(stage.instance("web-dev").join("lima.yaml"))?;
    ensure!(yaml.contains("Failed to execute"), "{yaml}");
    Ok(())
}
