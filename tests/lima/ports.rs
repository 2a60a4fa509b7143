//! Services of a guest in `ports`.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaProject, LimaStage};
use serde_json::{Value, json};

pub fn trials(lima: &Lima) -> Vec<Trial> {
    lima.fake_trial("ports::services_are_shown_as_soon_as_they_listen", services)
}

fn services(stage: &LimaStage) -> Result<()> {
    let project = LimaProject::new(stage, Guest::Busybox)?;
    project.ok(&["container", "create", "dev", "debian:12"])?;
    let shown = ports(&project)?;
    ensure!(shown.iter().all(|row| row["guest"] != 8003), "{shown:?}");
    for (port, address) in [("8000", "0.0.0.0"), ("8003", "127.0.0.1")] {
        // httpd moves to the background once it listens.
        let service = format!("{address}:{port}");
        project.ok(&["exec", "-u", "root", "dev", "--", "httpd", "-p", &service])?;
        let shown = ports(&project)?;
        let number: u16 = port.parse()?;
        let row = shown.iter().find(|row| row["guest"] == number);
        let row = row.with_context(|| format!("{port} is missing: {shown:?}"))?;
        ensure!(row["listener"]["addresses"] == json!([address]), "{row}");
        ensure!(row["listener"]["process"]["name"] == "httpd", "{row}");
        ensure!(row["configured"] == (number == 8000), "{row}");
    }
    let text = project.ok(&["ports", "dev"])?;
    ensure!(text.matches("httpd").count() == 2, "{text}");
    Ok(())
}

fn ports(project: &LimaProject) -> Result<Vec<Value>> {
    let output: Value = serde_json::from_str(&project.ok(&["--json", "ports", "dev"])?)?;
    Ok(output["ports"].as_array().context("no ports")?.clone())
}
