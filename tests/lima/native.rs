//! `forwarding: native`: Lima forwards ports without our forwarder.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use lxc_dev_manager_tests::stage::{free_port, request};

use crate::facts::guest::SERVE;

pub fn trials(lima: &Lima) -> Vec<Trial> {
    [
        lima.trials("native::lima_forwards_without_our_processes", forwards),
        lima.trials("native::a_port_in_use_is_reported", taken),
        lima.trials("native::two_envs_with_the_same_port_are_rejected", two_envs),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn write_file(stage: &LimaStage, envs: &str) -> Result<()> {
    let text = format!("project: web\nbackend: lima\ncontainers:\n{envs}");
    Ok(fs::write(stage.path("project/containers.yaml"), text)?)
}

fn forwards(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let port = free_port()?;
    let entry = |forwarding: &str| {
        format!("  dev: {{image: 'debian:12', ports: [{port}], forwarding: {forwarding}}}\n")
    };
    write_file(stage, &entry("native"))?;
    project.ok(&["up", "dev"])?;
    let serve = ["exec", "dev", "--", "sh", "-c", SERVE, &port.to_string()];
    project.ok(&serve)?;
    stage.until("Lima forwards the port", || {
        Ok(request(port, "localhost", "").is_ok_and(|text| text.starts_with("HTTP/")))
    })?;
    let listed = project.ok(&["ports", "dev", "--json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed)?;
    ensure!(listed["ports"][0]["native"] == true, "{listed}");
    let refused = project.run(&["proxy", "dev"])?;
    ensure!(refused.code == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("engine forwards"), "{refused:?}");

    write_file(stage, &entry("ours"))?;
    let applied = project.ok(&["config", "apply", "dev"])?;
    ensure!(applied.contains("effective after"), "{applied}");
    let applied = project.ok(&["config", "apply", "dev"])?;
    ensure!(applied.contains("already up to date"), "{applied}");
    project.ok(&["restart", "dev"])?;
    project.ok(&serve)?;
    // The service responds in the guest, but is not forwarded yet.
    ensure!(
        request(port, "localhost", "").is_err(),
        "our forwarder is running"
    );
    let settings = fs::read_to_string(stage.instance("web-dev").join("lima.yaml"))?;
    ensure!(
        !settings.contains(&format!("hostPort: {port}")),
        "{settings}"
    );
    Ok(())
}

fn taken(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = other.local_addr()?.port();
    let entry = format!("  dev: {{image: 'debian:12', ports: [{port}], forwarding: native}}\n");
    write_file(stage, &entry)?;
    project.ok(&["up", "dev"])?;
    let words = format!("Lima cannot forward port {port} of `web-dev`");
    let is_reported = || -> Result<bool> { Ok(project.run(&["doctor"])?.stdout.contains(&words)) };
    ensure!(!is_reported()?, "reported too early");
    project.ok(&["exec", "dev", "--", "sh", "-c", SERVE, &port.to_string()])?;
    stage.until("doctor reports it", is_reported)
}

fn two_envs(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    let env =
        |name| format!("  {name}: {{image: 'debian:12', ports: [8000], forwarding: native}}\n");
    write_file(stage, &format!("{}{}", env("dev"), env("other")))?;
    let refused = project.run(&["up", "dev"])?;
    ensure!(refused.code != Some(0), "{refused:?}");
    for word in ["`dev`", "`other`", "8000"] {
        ensure!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    ensure!(
        stage.ok(&["list", "--quiet"])?.is_empty(),
        "a VM was created"
    );
    Ok(())
}
