//! Changes of a view, and how they are applied.

use serde::{Deserialize, Serialize};

use super::{EngineView, EnvRef, EnvView, OperationKind, ProjectView, View};
use crate::error::ErrorReport;
use crate::model::{EnvName, OperationId, ProjectName, SnapshotName};

/// How one view differs from the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum ViewPatch {
    /// Forget everything; what follows up to [`ViewPatch::Ready`] is the whole view.
    Reset,
    /// The whole view has been sent.
    Ready,
    /// An engine is new or changed; known by kind and address.
    Engine {
        /// Its state.
        engine: EngineView,
    },
    /// A project is new or its head changed; its envs are listed by name only, in order, and those
    /// not listed are gone.
    Project {
        /// The project without its envs.
        project: ProjectHead,
    },
    /// A project is no longer known.
    ProjectGone {
        /// Its directory.
        path: String,
    },
    /// An env is new or changed.
    Env {
        /// The project's directory.
        project_path: String,
        /// Its state. Boxed: it is far larger than the other patches.
        env: Box<EnvView>,
    },
    /// An operation ended. Not a state: said once, for notices.
    Finished {
        /// What was done.
        outcome: Outcome,
    },
}

/// A project without the state of its envs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ProjectHead {
    /// Name in the file.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub name: Option<ProjectName>,
    /// Its directory.
    pub path: String,
    /// Why its file can't be read.
    pub problem: Option<ErrorReport>,
    /// Names of its envs, in order.
    #[cfg_attr(feature = "bindings", ts(type = "Array<string>"))]
    pub envs: Vec<EnvName>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Outcome {
    /// Its id.
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub id: OperationId,
    /// On which env.
    pub env: EnvRef,
    /// What was done.
    #[serde(rename = "verb")]
    pub kind: OperationKind,
    /// The snapshot that it was about.
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub snapshot: Option<SnapshotName>,
    /// Why it failed; `None` if it didn't.
    pub error: Option<ErrorReport>,
    /// Whether it can be taken back.
    pub undoable: bool,
}

/// A patch with its number. Numbers rise by one; a gap means that something was lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ViewEvent {
    /// Number of this patch.
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub seq: u64,
    /// The change.
    pub patch: ViewPatch,
}

impl View {
    /// Applies a patch. One for an unknown project is passed over: its head comes first.
    pub fn apply(&mut self, patch: &ViewPatch) {
        match patch {
            ViewPatch::Reset => *self = Self::default(),
            ViewPatch::Ready | ViewPatch::Finished { .. } => {}
            ViewPatch::Engine { engine } => {
                let same = |known: &&mut EngineView| {
                    known.kind == engine.kind && known.address == engine.address
                };
                match self.engines.iter_mut().find(same) {
                    Some(known) => *known = engine.clone(),
                    None => self.engines.push(engine.clone()),
                }
            }
            ViewPatch::Project { project } => self.apply_head(project),
            ViewPatch::ProjectGone { path } => {
                self.projects.retain(|project| project.path != *path);
            }
            ViewPatch::Env { project_path, env } => {
                let project = self
                    .projects
                    .iter_mut()
                    .find(|known| known.path == *project_path);
                let Some(project) = project else { return };
                match project.envs.iter_mut().find(|known| known.name == env.name) {
                    Some(known) => *known = env.as_ref().clone(),
                    None => project.envs.push(env.as_ref().clone()),
                }
            }
        }
    }

    /// Envs that a head names and that aren't known yet come with patches of their own, each of
    /// which goes to the end: the head's order is the file's, so new ones arrive in order.
    fn apply_head(&mut self, head: &ProjectHead) {
        let known = self
            .projects
            .iter()
            .position(|project| project.path == head.path);
        let mut before = known
            .map(|at| self.projects.remove(at).envs)
            .unwrap_or_default();
        let mut envs = Vec::new();
        for name in &head.envs {
            if let Some(at) = before.iter().position(|env| env.name == *name) {
                envs.push(before.remove(at));
            }
        }
        let (name, path, problem) = (head.name.clone(), head.path.clone(), head.problem.clone());
        self.projects.push(ProjectView {
            name,
            path,
            problem,
            envs,
        });
        self.projects
            .sort_by(|a, b| (a.label(), &a.path).cmp(&(b.label(), &b.path)));
    }
}
