//! The host agent's log.

use std::net::{Ipv4Addr, TcpListener, TcpStream};

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
