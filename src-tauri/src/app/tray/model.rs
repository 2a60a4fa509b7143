//! The tray menu as plain data.

mod ports;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::model::{EnvStatus, PortState};
use lxc_dev_manager_core::view::{
    Action, ActionKind, EnvRef, EnvView, PortView, ProjectView, SnapshotView, View,
};

/// With more envs, projects become submenus.
const FLAT_LIMIT: usize = 12;
/// Limit of message length in characters, which determines the menu's width.
const MESSAGE_LIMIT: usize = 48;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TrayAction {
    /// Run an action.
    Act(Action),
    OpenWindow,
    Quit,
}

/// One entry of a menu.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Identifies the entry across label changes; unique among siblings.
    pub(crate) key: String,
    /// Native menus have no columns, so parts are joined by ` · `.
    pub(crate) label: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Disabled text.
    Text,
    Item(TrayAction),
    Separator,
    Sub(Vec<Node>),
}

impl Node {
    fn new(key: &str, label: impl Into<String>, kind: Kind) -> Self {
        Self {
            key: key.to_owned(),
            label: label.into(),
            kind,
        }
    }

    fn text(key: &str, label: impl Into<String>) -> Self {
        Self::new(key, label, Kind::Text)
    }

    fn item(key: &str, label: impl Into<String>, action: TrayAction) -> Self {
        Self::new(key, label, Kind::Item(action))
    }

    fn separator(key: &str) -> Self {
        Self::new(key, "", Kind::Separator)
    }

    fn sub(key: &str, label: impl Into<String>, children: Vec<Self>) -> Self {
        Self::new(key, label, Kind::Sub(children))
    }
}

/// Builds the menu.
pub(crate) fn menu(view: &View) -> Vec<Node> {
    let envs = || view.projects.iter().flat_map(|project| &project.envs);
    let running = envs()
        .filter(|env| env.status == EnvStatus::Running)
        .count();
    let mut nodes = vec![
        Node::text("title", format!("LXC Dev Manager · {running} running")),
        Node::separator("after-title"),
    ];
    for engine in view.engines.iter().filter(|engine| !engine.reachable) {
        // The window shows the message and the hint, which are too long for a menu.
        let denied = engine
            .problem
            .as_ref()
            .is_some_and(|problem| problem.kind == ErrorKind::PermissionDenied);
        let state = if denied {
            "permission denied"
        } else {
            "unreachable"
        };
        let key = format!("engine {} {}", engine.kind, engine.address);
        nodes.push(Node::text(&key, format!("▲  {} {state}", engine.kind)));
    }
    if view.projects.is_empty() {
        nodes.push(Node::text(
            "no-project",
            "No projects yet: lxc-dev-manager create",
        ));
    }
    let flat = envs().count() <= FLAT_LIMIT;
    for project in &view.projects {
        let head = project_label(project);
        let entries = project.envs.iter().map(|env| env_node(project, env));
        if flat {
            nodes.push(Node::text(&format!("project {}", project.path), head));
            nodes.extend(entries);
        } else {
            nodes.push(Node::sub(
                &format!("project {}", project.path),
                head,
                entries.collect(),
            ));
        }
    }
    nodes.extend([
        Node::separator("before-window"),
        Node::item("open-window", "Open window", TrayAction::OpenWindow),
        Node::item("quit", "Quit", TrayAction::Quit),
    ]);
    nodes
}

fn project_label(project: &ProjectView) -> String {
    match &project.problem {
        Some(problem) => format!("{} · ▲ {}", project.label(), shorten(&problem.message)),
        None => project.label().to_owned(),
    }
}

fn env_node(project: &ProjectView, env: &EnvView) -> Node {
    let target = EnvRef {
        project_path: project.path.clone(),
        env: env.name.clone(),
    };
    Node::sub(
        &format!("env {} {}", project.path, env.name),
        env_label(env),
        env_entries(env, &target),
    )
}

/// Status by shape and word: ● running, ○ stopped, ◐ busy, ▲ problem.
fn env_label(env: &EnvView) -> String {
    let name = &env.name;
    if let Some(operation) = &env.operation {
        return format!("◐  {name} · {}…", operation.kind.labels().participle);
    }
    if let Some(problem) = &env.problem {
        return format!("▲  {name} · {}", shorten(&problem.message));
    }
    let in_use = env.ports.iter().find(|port| port.state == PortState::Taken);
    if let Some(port) = in_use {
        return format!("▲  {name} · port {} is in use", port.host);
    }
    let star = |port: &PortView| if port.focused { "★" } else { "" };
    let ports: Vec<String> = env
        .ports
        .iter()
        .map(|port| format!("{}{}", port.guest, star(port)))
        .collect();
    match env.status {
        EnvStatus::Running if ports.is_empty() => format!("●  {name}"),
        EnvStatus::Running => format!("●  {name} · {}", ports.join(" ")),
        EnvStatus::Stopped => format!("○  {name} · stopped"),
        other => format!("▲  {name} · {}", other.description()),
    }
}

fn env_entries(env: &EnvView, target: &EnvRef) -> Vec<Node> {
    let target = || target.clone();
    // A disabled item keeps its key as text, because an open menu must not shrink.
    let item = |kind: ActionKind, key: &str, label: String, action: Action| {
        if env.actions.contains(kind) {
            Node::item(key, label, TrayAction::Act(action))
        } else {
            Node::text(key, label)
        }
    };
    let mut nodes = Vec::new();
    if env.problem.is_some() && env.operation.is_none() {
        let dismiss = TrayAction::Act(Action::Dismiss { env: target() });
        nodes.push(Node::item("dismiss", "Dismiss", dismiss));
        nodes.push(Node::separator("after-dismiss"));
    }
    if env.actions.contains(ActionKind::Terminal) || env.operation.is_some() {
        let (label, action) = ("Terminal".into(), Action::Terminal { env: target() });
        nodes.push(item(ActionKind::Terminal, "terminal", label, action));
        nodes.push(Node::separator("after-terminal"));
    }
    let ports = env.ports.iter();
    let ports: Vec<Node> = ports.filter_map(|port| ports::node(port, target)).collect();
    if !ports.is_empty() {
        nodes.extend(ports);
        nodes.push(Node::separator("after-ports"));
    }
    if env.operation.is_none() && env.actions.is_empty() {
        nodes.push(Node::text("state", env.status.description()));
        return nodes;
    }
    let take = Action::Snapshot {
        env: target(),
        name: None,
        description: None,
    };
    nodes.push(item(
        ActionKind::Snapshot,
        "snapshot",
        "Take snapshot".into(),
        take,
    ));
    if !env.snapshots.is_empty() {
        let newest_first = env.snapshots.iter().rev();
        let entries = newest_first.map(|snapshot| {
            let restore = Action::Restore {
                env: target(),
                snapshot: snapshot.name.clone(),
            };
            let key = format!("restore {}", snapshot.name);
            item(ActionKind::Restore, &key, snapshot_label(snapshot), restore)
        });
        nodes.push(Node::sub("restore", "Restore", entries.collect()));
    }
    if let Some(undo) = &env.undo {
        let (noun, at) = (undo.kind.labels().noun, format_time(undo.at, "%H:%M"));
        let undo = Action::Undo { env: target() };
        nodes.push(item(
            ActionKind::Undo,
            "undo",
            format!("Undo {noun} of {at}"),
            undo,
        ));
    }
    nodes.push(Node::separator("before-power"));
    nodes.push(power(env, target(), item));
    nodes
}

fn power(
    env: &EnvView,
    target: EnvRef,
    item: impl Fn(ActionKind, &str, String, Action) -> Node,
) -> Node {
    let force = env.sessions > 0;
    let stop = |env| Action::Stop { env, force };
    match (env.status, env.sessions) {
        (EnvStatus::Running, 0) => item(ActionKind::Stop, "power", "Stop".into(), stop(target)),
        // A menu cannot ask for confirmation, so a submenu names the consequence.
        (EnvStatus::Running, sessions) => {
            let label = match sessions {
                1 => "End terminal session and stop".to_owned(),
                open => format!("End {open} terminal sessions and stop"),
            };
            let stop = item(ActionKind::Stop, "force", label, stop(target));
            Node::sub("stop", "Stop", vec![stop])
        }
        _ => {
            let start = Action::Start { env: target };
            item(ActionKind::Start, "power", "Start".into(), start)
        }
    }
}

/// Uses absolute times, because relative ones would need a timer.
fn snapshot_label(snapshot: &SnapshotView) -> String {
    format!(
        "{} · {}",
        snapshot.name,
        format_time(snapshot.created_at, "%-d %b %H:%M")
    )
}

fn format_time(at: Timestamp, format: &str) -> String {
    at.to_zoned_datetime(TimeZone::system())
        .strftime(format)
        .to_string()
}

fn shorten(message: &str) -> String {
    if message.chars().count() <= MESSAGE_LIMIT {
        return message.to_owned();
    }
    message
        .chars()
        .take(MESSAGE_LIMIT - 1)
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use lxc_dev_manager_core::model::{EngineKind, Limits, OperationId};
    use lxc_dev_manager_core::view::{AllowedActions, OperationKind, OperationView};

    use super::*;

    fn env(name: &str, status: EnvStatus) -> EnvView {
        let mut env = EnvView {
            project: None,
            name: name.parse().unwrap(),
            instance: name.parse().unwrap(),
            engine: Some(EngineKind::Lxd),
            location: None,
            checkout: None,
            image: None,
            status,
            address: None,
            hosts: Vec::new(),
            wake: false,
            ports: Vec::new(),
            snapshots: vec![SnapshotView {
                name: "before".parse().unwrap(),
                created_at: Timestamp::UNIX_EPOCH,
                description: None,
            }],
            limits: Limits::default(),
            sessions: 0,
            operation: None,
            problem: None,
            undo: None,
            actions: AllowedActions::default(),
        };
        env.actions = AllowedActions::of(&env);
        env
    }

    fn view(envs: Vec<EnvView>) -> View {
        let project = ProjectView {
            name: None,
            path: "/src/web".into(),
            untrusted: Vec::new(),
            problem: None,
            envs,
        };
        View {
            engines: Vec::new(),
            projects: vec![project],
        }
    }

    #[test]
    fn stop_with_open_sessions_is_in_a_submenu() {
        let mut env = env("dev", EnvStatus::Running);
        let target = EnvRef {
            project_path: "/src/web".into(),
            env: env.name.clone(),
        };
        let stops = |env: &EnvView| env_entries(env, &target).pop().unwrap().kind;
        assert!(matches!(
            stops(&env),
            Kind::Item(TrayAction::Act(Action::Stop { force: false, .. }))
        ));
        env.sessions = 2;
        let Kind::Sub(children) = stops(&env) else {
            panic!("no submenu");
        };
        assert_eq!(labels(&children), ["End 2 terminal sessions and stop"]);
        assert!(matches!(
            children[0].kind,
            Kind::Item(TrayAction::Act(Action::Stop { force: true, .. }))
        ));
    }

    fn labels(nodes: &[Node]) -> Vec<&str> {
        nodes.iter().map(|node| node.label.as_str()).collect()
    }

    fn children<'a>(nodes: &'a [Node], label: &str) -> &'a [Node] {
        let node = nodes
            .iter()
            .find(|node| node.label.starts_with(label))
            .unwrap();
        match &node.kind {
            Kind::Sub(children) => children,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn menu_shows_status_by_shape_and_word() {
        let nodes = menu(&view(vec![
            env("main", EnvStatus::Running),
            env("old", EnvStatus::Stopped),
        ]));
        assert_eq!(
            labels(&nodes),
            [
                "LXC Dev Manager · 1 running",
                "",
                "web",
                "●  main",
                "○  old · stopped",
                "",
                "Open window",
                "Quit"
            ]
        );
    }

    #[test]
    fn snapshot_item_restores_that_snapshot() {
        let nodes = menu(&view(vec![env("main", EnvStatus::Running)]));
        let restore = children(children(&nodes, "●  main"), "Restore");
        let expected = Action::Restore {
            env: EnvRef {
                project_path: "/src/web".into(),
                env: "main".parse().unwrap(),
            },
            snapshot: "before".parse().unwrap(),
        };
        assert_eq!(restore[0].kind, Kind::Item(TrayAction::Act(expected)));
    }

    #[test]
    fn busy_env_offers_only_terminal() {
        let mut busy = env("main", EnvStatus::Running);
        busy.operation = Some(OperationView {
            id: OperationId::random(),
            kind: OperationKind::Restore,
            step: None,
            percent: None,
            started_at: Timestamp::UNIX_EPOCH,
        });
        busy.actions = AllowedActions::of(&busy);
        let nodes = menu(&view(vec![busy]));
        let below = children(&nodes, "◐  main · restoring…");
        let items = below
            .iter()
            .filter(|node| matches!(node.kind, Kind::Item(_)));
        assert_eq!(
            items.map(|node| node.key.as_str()).collect::<Vec<_>>(),
            ["terminal"]
        );
    }

    /// The window is held against core in `ui/src/lib/disabled-reasons.test.ts`.
    #[test]
    fn tray_offers_the_allowed_actions() {
        for (status, sessions) in EnvStatus::ALL.into_iter().flat_map(|s| [(s, 0), (s, 1)]) {
            let mut env = env("dev", status);
            env.sessions = sessions;
            let target = EnvRef {
                project_path: "/src/web".into(),
                env: env.name.clone(),
            };
            let mut offered = offered(env_entries(&env, &target));
            offered.sort_unstable();
            // A frozen env offers Start; it can be stopped with the CLI.
            let hidden = |kind| status == EnvStatus::Frozen && kind == ActionKind::Stop;
            let allowed = ActionKind::ALL.into_iter();
            let allowed: Vec<_> = allowed
                .filter(|kind| env.actions.contains(*kind) && !hidden(*kind))
                .collect();
            assert_eq!(offered, allowed, "{status:?}");
        }
    }

    fn offered(nodes: Vec<Node>) -> Vec<ActionKind> {
        let of = |node: Node| match node.kind {
            Kind::Sub(children) => offered(children),
            Kind::Item(TrayAction::Act(action)) => kind(&action).into_iter().collect(),
            _ => Vec::new(),
        };
        nodes.into_iter().flat_map(of).collect()
    }

    fn kind(action: &Action) -> Option<ActionKind> {
        match action {
            Action::Terminal { .. } => Some(ActionKind::Terminal),
            Action::Start { .. } => Some(ActionKind::Start),
            Action::Stop { .. } => Some(ActionKind::Stop),
            Action::Snapshot { .. } => Some(ActionKind::Snapshot),
            Action::Restore { .. } => Some(ActionKind::Restore),
            Action::Undo { .. } => Some(ActionKind::Undo),
            Action::Focus { .. } | Action::OpenPort { .. } | Action::Dismiss { .. } => None,
        }
    }

    #[test]
    fn many_envs_are_grouped_by_project() {
        let envs = (0..13)
            .map(|n| env(&format!("e{n}"), EnvStatus::Stopped))
            .collect();
        let nodes = menu(&view(envs));
        assert_eq!(children(&nodes, "web").len(), 13);
    }

    #[test]
    fn keys_are_unique_among_siblings() {
        let nodes = menu(&view(vec![
            env("a", EnvStatus::Running),
            env("b", EnvStatus::NotFound),
        ]));
        let mut keys: Vec<&str> = nodes.iter().map(|node| node.key.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), nodes.len());
    }
}
