//! What the measurements of one engine share: a project of five envs, and the engine's own client.

use anyhow::Result;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

use crate::peer::Peer;

/// Names of the envs.
pub const ENVS: [&str; 5] = ["main", "dev", "agent-1", "agent-2", "review"];

/// The place. What is in it goes with it.
pub struct Stage {
    /// The engine's own client.
    pub peer: Peer,
    /// Our project of five envs that run.
    pub workspace: Workspace,
    /// The engine's name and version.
    pub engine: String,
    /// Names of instances in the engine that aren't ours; lists have to go through them too.
    pub others: usize,
}

impl Stage {
    /// Makes the envs.
    pub fn new(engine: &TestEngine, name: &str) -> Result<Self> {
        let workspace = Workspace::new(engine)?;
        for env in ENVS {
            workspace.create(env)?;
        }
        let peer = Peer::new(engine)?;
        let all = peer.ok(&["list", "--format", "csv", "--columns", "n"])?;
        Ok(Self {
            others: all.lines().count().saturating_sub(ENVS.len()),
            engine: name.to_owned(),
            peer,
            workspace,
        })
    }

    /// Name of the instance of an env.
    pub fn instance(&self, env: &str) -> String {
        format!("{}-{env}", self.workspace.project)
    }
}
