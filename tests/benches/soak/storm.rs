//! Random changes of envs and forwarders.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use lxc_dev_manager_tests::stage::until;

use crate::load::Load;
use crate::place::{ENVS, Place, SNAPSHOT};

/// A random number below a limit.
pub fn random(limit: u64) -> u64 {
    let (_, number) = uuid::Uuid::new_v4().as_u64_pair();
    number % limit
}

#[derive(Default)]
pub struct Storm {
    /// How often each change was made.
    pub done: BTreeMap<&'static str, u32>,
}

impl Storm {
    /// Makes changes for a while, with `replaces_forwarder` also of the forwarder.
    pub fn run(
        &mut self,
        place: &mut Place,
        load: &Load,
        span: Duration,
        replaces_forwarder: bool,
    ) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < span {
            let env = ENVS[random(3) as usize];
            let run = |words: &[&str]| place.stage.workspace.ok(words);
            let change = match random(10) {
                0 | 1 => {
                    run(&["down", env])?;
                    "stopped"
                }
                2 | 3 => {
                    run(&["up", env])?;
                    "started"
                }
                4 | 5 => {
                    run(&["container", "reset", env, SNAPSHOT])?;
                    "restored"
                }
                6 => {
                    // They may get each other's address.
                    let other = ENVS[random(3) as usize];
                    for words in [["down", env], ["down", other], ["up", other], ["up", env]] {
                        run(&words)?;
                    }
                    "restarted in pairs"
                }
                7 if replaces_forwarder => replace_forwarder(place, env)?,
                _ => move_focus(place, load, env)?,
            };
            *self.done.entry(change).or_default() += 1;
        }
        Ok(())
    }
}

fn replace_forwarder(place: &mut Place, env: &str) -> Result<&'static str> {
    // A session prints its first line once it has something to forward.
    place.stage.workspace.ok(&["up", env])?;
    let change = match random(2) {
        0 => {
            place.kill_forwarder()?;
            "forwarder killed"
        }
        _ => {
            place.end_forwarder()?;
            "forwarder ended"
        }
    };
    place.add_session()?;
    // The project's other process takes over.
    until("a process forwards", || {
        Ok(place.stage.forwards()?.len() == ENVS.len())
    })?;
    Ok(change)
}

fn move_focus(place: &Place, load: &Load, env: &'static str) -> Result<&'static str> {
    let port = place.stage.port.to_string();
    place.stage.workspace.ok(&["focus", env, &port])?;
    // A stopped env gets the focus at its next start.
    if !place.has_focus(env)? {
        return Ok("focus of a stopped env");
    }
    load.request_default(env);
    Ok("focus moved")
}
