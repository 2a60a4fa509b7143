//! The host agent's log, and `watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_tests::lima::LimaStage;
use serde_json::Value;

use super::guest;

const OFF: &str = "portForwards:\n\
    - {guestIP: \"0.0.0.0\", guestIPMustBeZero: false, guestPortRange: [1, 1023], proto: any, ignore: true}\n\
    - {guestIP: \"0.0.0.0\", guestIPMustBeZero: false, guestPortRange: [1024, 65535], proto: any, ignore: true}\n";

pub fn each_start_has_a_new_log_with_running_and_exiting(stage: &LimaStage) -> Result<()> {
    stage.running("a", OFF)?;
    let port = stage.listed("a")?["sshLocalPort"].clone();
    let events = stage.events("a")?;
    let first = events.first().context("no event")?;
    ensure!(
        first["status"]["sshLocalPort"] == port && first["status"].get("running").is_none(),
        "{first}"
    );
    ensure!(
        first["time"]
            .as_str()
            .is_some_and(|time| time.contains('T')),
        "{first}"
    );
    ensure!(
        events
            .iter()
            .any(|event| event["status"]["running"] == true),
        "{events:?}"
    );
    stage.ok(&["stop", "a"])?;
    let events = stage.events("a")?;
    let last = events.last().context("no event")?;
    ensure!(
        last["status"]["exiting"] == true && last["status"].get("running").is_none(),
        "{last}"
    );
    stage.ok(&["start", "--tty=false", "a"])?;
    ensure!(
        !stage
            .events("a")?
            .iter()
            .any(|event| event["status"]["exiting"] == true)
    );
    Ok(())
}

fn forward(event: &Value) -> Option<(&str, &str)> {
    let forward = &event["status"]["portForward"];
    Some((forward["type"].as_str()?, forward["guestAddr"].as_str()?))
}

pub fn a_listener_is_logged_and_stays_in_the_lines(stage: &LimaStage) -> Result<()> {
    stage.running("a", OFF)?;
    guest::serve(stage, 7002)?;
    let wanted = ("not-forwarding", "127.0.0.1:7002");
    stage.until("the listener is logged", || {
        Ok(stage
            .events("a")?
            .iter()
            .any(|event| forward(event) == Some(wanted)))
    })?;
    let events = stage.events("a")?;
    let logged = events
        .iter()
        .find(|event| forward(event) == Some(wanted))
        .context("not logged")?;
    ensure!(logged["status"]["running"] == true, "{logged}");
    ensure!(
        logged["status"]["portForward"].get("hostAddr").is_none(),
        "{logged}"
    );
    Ok(())
}

pub fn a_rule_forwards_a_port(stage: &LimaStage) -> Result<()> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = free.local_addr()?.port();
    drop(free);
    stage.running(
        "a",
        &format!("portForwards:\n- {{guestPort: 7003, hostPort: {port}}}\n"),
    )?;
    guest::serve(stage, 7003)?;
    let wanted = ("forwarding", "127.0.0.1:7003");
    stage.until("the forward is logged", || {
        Ok(stage
            .events("a")?
            .iter()
            .any(|event| forward(event) == Some(wanted)))
    })?;
    stage.until("it answers", || {
        let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else {
            return Ok(false);
        };
        Ok(guest::ask(&stream, &stream).unwrap_or(false))
    })
}

pub fn watch_names_the_instance(stage: &LimaStage) -> Result<()> {
    stage.create("a", OFF)?;
    let mut watch = stage
        .command(&["watch", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = BufReader::new(watch.stderr.take().context("no stderr")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    ensure!(line.contains("Watching for events"), "{line:?}");
    stage.ok(&["start", "--tty=false", "a"])?;
    let mut lines = BufReader::new(watch.stdout.take().context("no stdout")?).lines();
    let running = lines
        .by_ref()
        .map_while(Result::ok)
        .find(|line| line.contains("\"running\":true"));
    watch.kill()?;
    watch.wait()?;
    let event: Value = serde_json::from_str(&running.context("no event")?)?;
    ensure!(
        event["instance"] == "a" && event["event"]["status"]["running"] == true,
        "{event}"
    );
    ensure!(fs::metadata(stage.instance("a").join("ha.stdout.log"))?.len() > 0);
    Ok(())
}
