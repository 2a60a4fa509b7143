//! The actions that an env allows now, for tray, window and `--json`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EnvView;
use crate::model::EnvStatus;

/// An action that surfaces offer for every env.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "bindings", derive(ts_rs::TS))]
pub enum ActionKind {
    Terminal,
    Start,
    Stop,
    Snapshot,
    Restore,
    Undo,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Terminal,
        Self::Start,
        Self::Stop,
        Self::Snapshot,
        Self::Restore,
        Self::Undo,
    ];
}

/// Each action with the reason why it is disabled; `None` if it is allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowedActions(BTreeMap<ActionKind, Option<String>>);

impl AllowedActions {
    /// The actions that an env allows in its current state.
    #[must_use]
    pub fn of(env: &EnvView) -> Self {
        let reason = |kind| (kind, disabled_reason(env, kind));
        Self(ActionKind::ALL.into_iter().map(reason).collect())
    }

    /// Whether no action is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Option::is_some)
    }

    /// Whether an action is allowed.
    #[must_use]
    pub fn contains(&self, kind: ActionKind) -> bool {
        self.0.get(&kind).is_some_and(Option::is_none)
    }
}

fn disabled_reason(env: &EnvView, kind: ActionKind) -> Option<String> {
    let name = &env.name;
    let state = || Some(format!("{name} is {}", env.status.description()));
    match env.status {
        EnvStatus::NotFound | EnvStatus::Unreachable => return state(),
        // What may repair a broken env stays allowed.
        EnvStatus::Error if kind == ActionKind::Stop => return state(),
        EnvStatus::Running | EnvStatus::Stopped | EnvStatus::Frozen | EnvStatus::Error => {}
    }
    if kind == ActionKind::Terminal {
        return if env.status == EnvStatus::Running {
            None
        } else {
            state()
        };
    }
    if let Some(operation) = &env.operation {
        return Some(format!(
            "{name} is busy: {}",
            operation.kind.labels().participle
        ));
    }
    match (kind, env.status) {
        (ActionKind::Start, EnvStatus::Running) | (ActionKind::Stop, EnvStatus::Stopped) => state(),
        (ActionKind::Restore, _) if env.snapshots.is_empty() => {
            Some(format!("{name} has no snapshots"))
        }
        (ActionKind::Undo, _) if env.undo.is_none() => Some(format!("{name} has nothing to undo")),
        _ => None,
    }
}
