//! The differences of two views.

use crate::view::{ProjectView, View, ViewPatch};

/// The patches that turn `old` into `new`.
pub(super) fn diff(old: &View, new: &View) -> Vec<ViewPatch> {
    let mut patches = Vec::new();
    for engine in &new.engines {
        if !old.engines.contains(engine) {
            patches.push(ViewPatch::Engine {
                engine: engine.clone(),
            });
        }
    }
    for project in &old.projects {
        if !new.projects.iter().any(|found| found.path == project.path) {
            patches.push(ViewPatch::ProjectGone {
                path: project.path.clone(),
            });
        }
    }
    for project in &new.projects {
        let before = old.projects.iter().find(|known| known.path == project.path);
        project_patches(before, project, &mut patches);
    }
    patches
}

fn project_patches(old: Option<&ProjectView>, new: &ProjectView, patches: &mut Vec<ViewPatch>) {
    if old.map(ProjectView::head) != Some(new.head()) {
        patches.push(ViewPatch::Project {
            project: new.head(),
        });
    }
    for env in &new.envs {
        let known = old.and_then(|old| old.envs.iter().find(|known| known.name == env.name));
        if known != Some(env) {
            let (project_path, env) = (new.path.clone(), Box::new(env.clone()));
            patches.push(ViewPatch::Env { project_path, env });
        }
    }
}

pub(super) fn full_patches(view: &View) -> Vec<ViewPatch> {
    let mut patches = vec![ViewPatch::Reset];
    patches.extend(diff(&View::default(), view));
    patches.push(ViewPatch::Ready);
    patches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EngineKind, EnvStatus, Limits};
    use crate::view::{EngineView, EnvView};

    fn env(name: &str, status: EnvStatus) -> EnvView {
        EnvView {
            project: None,
            name: name.parse().unwrap(),
            instance: name.parse().unwrap(),
            engine: Some(EngineKind::Fake),
            location: None,
            checkout: None,
            image: None,
            status,
            address: None,
            ports: Vec::new(),
            hosts: Vec::new(),
            wake: false,
            snapshots: Vec::new(),
            limits: Limits::default(),
            sessions: 0,
            operation: None,
            problem: None,
            undo: None,
            actions: crate::view::AllowedActions::default(),
        }
    }

    fn view(envs: Vec<EnvView>) -> View {
        let engine = EngineView {
            kind: EngineKind::Fake,
            address: "memory".into(),
            reachable: true,
            problem: None,
        };
        let project = ProjectView {
            name: None,
            path: "/p".into(),
            untrusted: Vec::new(),
            problem: None,
            envs,
        };
        View {
            engines: vec![engine],
            projects: vec![project],
        }
    }

    #[test]
    fn equal_views_have_no_patches() {
        let same = view(vec![env("dev", EnvStatus::Running)]);
        assert_eq!(diff(&same, &same), []);
    }

    #[test]
    fn one_changed_env_is_one_patch() {
        let old = view(vec![
            env("a", EnvStatus::Running),
            env("b", EnvStatus::Running),
        ]);
        let new = view(vec![
            env("a", EnvStatus::Running),
            env("b", EnvStatus::Stopped),
        ]);
        let patches = diff(&old, &new);
        assert!(
            matches!(patches.as_slice(),
            [ViewPatch::Env { env, .. }] if env.name.as_str() == "b"),
            "{patches:?}"
        );
    }

    #[test]
    fn removed_env_is_one_project_patch() {
        let old = view(vec![
            env("a", EnvStatus::Running),
            env("b", EnvStatus::Running),
        ]);
        let new = view(vec![env("b", EnvStatus::Running)]);
        let patches = diff(&old, &new);
        assert!(
            matches!(patches.as_slice(),
            [ViewPatch::Project { project }] if project.envs.len() == 1),
            "{patches:?}"
        );
    }

    #[test]
    fn full_patches_begin_with_reset_and_end_with_ready() {
        let patches = full_patches(&view(vec![env("a", EnvStatus::Running)]));
        assert_eq!(patches.first(), Some(&ViewPatch::Reset));
        assert_eq!(patches.last(), Some(&ViewPatch::Ready));
        assert_eq!(patches.len(), 5);
    }
}
