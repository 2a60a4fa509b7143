//! A project of five running envs on one engine, and the engine's own client.

use anyhow::Result;
use lxc_dev_manager_tests::engines::TestEngine;
use lxc_dev_manager_tests::workspace::Workspace;

use crate::peer::Peer;

pub const ENVS: [&str; 5] = ["main", "dev", "agent-1", "agent-2", "review"];

/// Deletes its envs when dropped.
pub struct Stage {
    pub peer: Peer,
    pub workspace: Workspace,
    /// Name and version.
    pub engine: String,
}

impl Stage {
    pub fn new(engine: &TestEngine, name: &str) -> Result<Self> {
        let workspace = Workspace::new(engine)?;
        for env in ENVS {
            workspace.create(env)?;
        }
        Ok(Self {
            engine: name.to_owned(),
            peer: Peer::new(engine)?,
            workspace,
        })
    }

    /// Name of an env's instance.
    pub fn instance(&self, env: &str) -> String {
        format!("{}-{env}", self.workspace.project)
    }
}
