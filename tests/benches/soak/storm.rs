//! What happens to envs and to who forwards, at random.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use lxc_dev_manager_tests::stage::until;

use crate::load::Load;
use crate::place::{ENVS, Place, SNAPSHOT};

/// Numbers that look random and can be had again by their seed (xorshift).
pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// Of a seed that nobody chose.
    pub fn new() -> Self {
        let bytes = uuid::Uuid::new_v4();
        let (seed, _) = bytes.as_u64_pair();
        Self::of(seed)
    }

    fn of(seed: u64) -> Self {
        let state = seed | 1;
        Self { seed, state }
    }

    /// What it began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Another one.
    pub fn fork(&mut self) -> Self {
        Self::of(self.next())
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// A number below another.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

/// One thing after the other, counted.
pub struct Storm {
    dice: Dice,
    done: BTreeMap<&'static str, u32>,
}

impl Storm {
    pub fn new(dice: Dice) -> Self {
        let done = BTreeMap::new();
        Self { dice, done }
    }

    /// Lets things happen for a while; `kill`: to who forwards, too, which is killed or asked to end.
    pub fn rage(
        &mut self,
        place: &mut Place,
        load: &Load,
        span: Duration,
        kill: bool,
    ) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < span {
            let env = ENVS[self.dice.below(3) as usize];
            let what = self.one(place, load, env, kill)?;
            *self.done.entry(what).or_default() += 1;
        }
        Ok(())
    }

    fn one(
        &mut self,
        place: &mut Place,
        load: &Load,
        env: &str,
        kill: bool,
    ) -> Result<&'static str> {
        let run = |words: &[&str]| place.stage.workspace.ok(words);
        match self.dice.below(10) {
            0 | 1 => {
                run(&["down", env])?;
                Ok("stopped")
            }
            2 | 3 => {
                run(&["up", env])?;
                Ok("started")
            }
            4 | 5 => {
                run(&["container", "reset", env, SNAPSHOT])?;
                Ok("restored")
            }
            6 => {
                // Both go, and come back with each other's address, if the bridge likes.
                let other = ENVS[self.dice.below(3) as usize];
                run(&["down", env])?;
                run(&["down", other])?;
                run(&["up", other])?;
                run(&["up", env])?;
                Ok("stopped and started in pairs")
            }
            7 if kill => {
                // A process says its first line once there is something to forward.
                run(&["up", env])?;
                let killed = self.dice.below(2) == 0;
                if killed {
                    place.kill_holder()?
                } else {
                    place.end_holder()?
                }
                place.add_session()?;
                // The project's other process has taken over by then, or does it now.
                until("a process forwards", || {
                    Ok(place.stage.forwards()?.len() == ENVS.len())
                })?;
                Ok(if killed {
                    "who forwards killed"
                } else {
                    "who forwards asked to end"
                })
            }
            _ => {
                let port = place.stage.port.to_string();
                run(&["focus", env, &port])?;
                // One that is stopped has it, and answers from its next start on.
                if !place.has_focus(env)? {
                    return Ok("focus moved to one that is stopped");
                }
                load.ask_focused(env);
                Ok("focus moved")
            }
        }
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self
            .done
            .iter()
            .map(|(what, count)| format!("{count} × {what}"));
        formatter.write_str(&parts.collect::<Vec<_>>().join(", "))
    }
}
