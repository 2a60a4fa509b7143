//! Patches of a view, and how they are applied.

use serde::{Deserialize, Serialize};

use super::{EngineView, EnvRef, EnvView, OperationKind, PartView, ProjectView, View};
use crate::error::ErrorReport;
use crate::model::{EnvName, OperationId, ProjectName, SnapshotName};

/// A change of a view.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum ViewPatch {
    /// Clear the view; the patches up to [`ViewPatch::Ready`] are the full view.
    Reset,
    /// The full view has been sent.
    Ready,
    /// A new or changed engine, identified by kind and address.
    Engine {
        engine: EngineView,
    },
    /// A new or changed project. Its envs that are not listed are gone.
    Project {
        project: ProjectHead,
    },
    ProjectGone {
        path: String,
    },
    /// A new or changed env.
    Env {
        project_path: String,
        // Boxed, because it is far larger than the other patches.
        env: Box<EnvView>,
    },
    /// An operation has ended. An event, not part of the state.
    Finished {
        outcome: Outcome,
    },
}

/// A project without the state of its envs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ProjectHead {
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub name: Option<ProjectName>,
    pub path: String,
    pub problem: Option<ErrorReport>,
    /// What the project's file does to this machine without the user's consent; omitted if nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "bindings", ts(optional, as = "Option<Vec<PartView>>"))]
    pub untrusted: Vec<PartView>,
    /// In the order of the file.
    #[cfg_attr(feature = "bindings", ts(type = "Array<string>"))]
    pub envs: Vec<EnvName>,
}

/// The result of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct Outcome {
    #[cfg_attr(feature = "bindings", ts(type = "string"))]
    pub id: OperationId,
    pub env: EnvRef,
    #[serde(rename = "verb")]
    pub kind: OperationKind,
    #[cfg_attr(feature = "bindings", ts(type = "string | null"))]
    pub snapshot: Option<SnapshotName>,
    /// `None` if it succeeded.
    pub error: Option<ErrorReport>,
    pub undoable: bool,
    /// The result in one phrase, as if it had succeeded.
    #[serde(default)]
    pub summary: String,
}

/// A numbered patch. Numbers rise by one; a gap means a lost patch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub struct ViewEvent {
    #[cfg_attr(feature = "bindings", ts(type = "number"))]
    pub seq: u64,
    pub patch: ViewPatch,
}

impl View {
    /// Applies a patch. Ignores an env of an unknown project, whose head has to come first.
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

    /// Removes and reorders known envs. New ones follow in patches of their own and are appended, which keeps
    /// the order of the file.
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
            untrusted: head.untrusted.clone(),
            envs,
        });
        self.projects
            .sort_by(|a, b| (a.label(), &a.path).cmp(&(b.label(), &b.path)));
    }
}
