//! What the tray's menu looks like, as plain data.

mod ports;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::model::{EnvStatus, PortState};
use lxc_dev_manager_core::view::{
    Action, EnvRef, EnvView, OperationKind, PortView, ProjectView, SnapshotView, View,
};

/// With more envs than this, a project becomes a submenu.
const FLAT_LIMIT: usize = 12;
/// A longer message would make the menu as wide as the screen.
const MESSAGE_LIMIT: usize = 48;

/// What an item does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TrayAction {
    /// Ask the engine room.
    Act(Action),
    /// Open the window.
    OpenWindow,
    /// End the app.
    Quit,
}

/// One entry of a menu.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is, over changes of its label; unique among its siblings.
    pub(crate) key: String,
    /// What is written on it; native menus have no columns, so parts are joined by ` · `.
    pub(crate) label: String,
    pub(crate) kind: Kind,
}

/// Kinds of entries.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Text that can't be pressed.
    Text,
    /// An item that does something.
    Item(TrayAction),
    /// A line between.
    Separator,
    /// A menu below.
    Sub(Vec<Node>),
}

impl Node {
    fn text(key: &str, label: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            label: label.into(),
            kind: Kind::Text,
        }
    }

    fn item(key: &str, label: impl Into<String>, action: TrayAction) -> Self {
        Self {
            key: key.to_owned(),
            label: label.into(),
            kind: Kind::Item(action),
        }
    }

    fn separator(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            label: String::new(),
            kind: Kind::Separator,
        }
    }

    fn sub(key: &str, label: impl Into<String>, below: Vec<Self>) -> Self {
        Self {
            key: key.to_owned(),
            label: label.into(),
            kind: Kind::Sub(below),
        }
    }
}

/// The whole menu.
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
        // Why, and what to do, stands in the window: that is too long for a menu.
        let denied = engine
            .problem
            .as_ref()
            .is_some_and(|problem| problem.kind == ErrorKind::PermissionDenied);
        let state = if denied {
            "may not be used"
        } else {
            "doesn't answer"
        };
        let key = format!("engine {} {}", engine.kind, engine.address);
        nodes.push(Node::text(&key, format!("▲  {} {state}", engine.kind)));
    }
    if view.projects.is_empty() {
        nodes.push(Node::text(
            "no-project",
            "No project yet: lxc-dev-manager create",
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
        Some(problem) => format!("{} · ▲ {}", project.label(), shortened(&problem.message)),
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
        below(env, &target),
    )
}

/// State by shape and word: ● running, ○ stopped, ◐ busy, ▲ needs a look.
fn env_label(env: &EnvView) -> String {
    let name = &env.name;
    if let Some(operation) = &env.operation {
        return format!("◐  {name} · {}…", doing(operation.kind));
    }
    if let Some(problem) = &env.problem {
        return format!("▲  {name} · {}", shortened(&problem.message));
    }
    let taken = env.ports.iter().find(|port| port.state == PortState::Taken);
    if let Some(port) = taken {
        return format!("▲  {name} · port {} is taken", port.host);
    }
    let star = |port: &PortView| if port.focused { "★" } else { "" };
    let ports: Vec<String> = env
        .ports
        .iter()
        .map(|port| format!("{}{}", port.guest, star(port)))
        .collect();
    let ports = if ports.is_empty() {
        String::new()
    } else {
        format!(" · {}", ports.join(" "))
    };
    match env.status {
        EnvStatus::Running => format!("●  {name}{ports}"),
        EnvStatus::Stopped => format!("○  {name} · stopped"),
        other => format!("▲  {name} · {}", other.label().to_lowercase()),
    }
}

fn doing(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Create => "creating",
        OperationKind::Start => "starting",
        OperationKind::Stop => "stopping",
        OperationKind::Snapshot => "taking a snapshot",
        OperationKind::DeleteSnapshot => "deleting a snapshot",
        OperationKind::Restore => "restoring",
        OperationKind::Remove => "removing",
        OperationKind::Undo => "undoing",
        OperationKind::Clone => "cloning",
        OperationKind::Rename => "renaming",
        OperationKind::Restart => "restarting",
        OperationKind::Publish => "making an image",
        OperationKind::Transfer => "copying files",
        OperationKind::Configure => "configuring",
        OperationKind::ForwardSocket => "lending a socket",
    }
}

fn below(env: &EnvView, target: &EnvRef) -> Vec<Node> {
    let act = |key: &str, label: String, action: Action| {
        // While something is being done to it, its items only tell what there is.
        match env.operation {
            Some(_) => Node::text(key, label),
            None => Node::item(key, label, TrayAction::Act(action)),
        }
    };
    let target = || target.clone();
    let mut nodes = Vec::new();
    if env.problem.is_some() && env.operation.is_none() {
        nodes.push(act(
            "dismiss",
            "Dismiss".into(),
            Action::Dismiss { env: target() },
        ));
        nodes.push(Node::separator("after-dismiss"));
    }
    // A menu that is open can't shrink, so what is there before an operation stays during it.
    if env.status == EnvStatus::Running || env.operation.is_some() {
        nodes.push(act(
            "terminal",
            "Terminal".into(),
            Action::Terminal { env: target() },
        ));
        nodes.push(Node::separator("after-terminal"));
    }
    nodes.extend(
        env.ports
            .iter()
            .filter_map(|port| ports::node(port, target, act)),
    );
    if env
        .ports
        .iter()
        .any(|port| matches!(port.state, PortState::Forwarded | PortState::Taken))
    {
        nodes.push(Node::separator("after-ports"));
    }
    let known = env.status.is_up() || env.status == EnvStatus::Stopped;
    if known {
        let take = Action::Snapshot {
            env: target(),
            name: None,
            description: None,
        };
        nodes.push(act("snapshot", "Take a snapshot".into(), take));
        if !env.snapshots.is_empty() {
            let newest_first = env.snapshots.iter().rev();
            let entries = newest_first.map(|snapshot| {
                let restore = Action::Restore {
                    env: target(),
                    snapshot: snapshot.name.clone(),
                };
                act(
                    &format!("restore {}", snapshot.name),
                    snapshot_label(snapshot),
                    restore,
                )
            });
            nodes.push(Node::sub("restore", "Restore", entries.collect()));
        }
        if let Some(undo) = env
            .undo
            .as_ref()
            .filter(|undo| undo.kind != OperationKind::Remove)
        {
            let label = format!("Undo restore of {}", clock(undo.at, "%H:%M"));
            nodes.push(act("undo", label, Action::Undo { env: target() }));
        }
        nodes.push(Node::separator("before-power"));
    }
    nodes.push(power(env, target(), act));
    nodes
}

/// Starts it, stops it, or says why neither can be done.
fn power(env: &EnvView, target: EnvRef, act: impl Fn(&str, String, Action) -> Node) -> Node {
    match env.status {
        EnvStatus::Running if env.sessions == 0 => {
            act("power", "Stop".into(), Action::Stop { env: target })
        }
        // A menu can't ask: it says what ends, one step further.
        EnvStatus::Running => {
            let label = match env.sessions {
                1 => "End a terminal session and stop".to_owned(),
                open => format!("End {open} terminal sessions and stop"),
            };
            let stop = act("anyway", label, Action::StopAnyway { env: target });
            Node::sub("stop", "Stop", vec![stop])
        }
        EnvStatus::Stopped | EnvStatus::Frozen => {
            act("power", "Start".into(), Action::Start { env: target })
        }
        other => Node::text("state", other.label().to_lowercase()),
    }
}

/// With the time itself: a relative one would have to be redrawn by a timer.
fn snapshot_label(snapshot: &SnapshotView) -> String {
    format!(
        "{} · {}",
        snapshot.name,
        clock(snapshot.created_at, "%-d %b %H:%M")
    )
}

fn clock(at: Timestamp, format: &str) -> String {
    at.to_zoned_datetime(TimeZone::system())
        .strftime(format)
        .to_string()
}

fn shortened(message: &str) -> String {
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
    use lxc_dev_manager_core::view::OperationView;

    use super::*;

    fn env(name: &str, status: EnvStatus) -> EnvView {
        EnvView {
            project: None,
            name: name.parse().unwrap(),
            instance: name.parse().unwrap(),
            engine: Some(EngineKind::Lxd),
            location: None,
            checkout: None,
            image: None,
            status,
            address: None,
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
        }
    }

    fn view(envs: Vec<EnvView>) -> View {
        let project = ProjectView {
            name: None,
            path: "/src/web".into(),
            problem: None,
            envs,
        };
        View {
            engines: Vec::new(),
            projects: vec![project],
        }
    }

    #[test]
    fn stopping_what_somebody_works_in_takes_one_step_more() {
        let mut env = env("dev", EnvStatus::Running);
        let target = EnvRef {
            project_path: "/src/web".into(),
            env: env.name.clone(),
        };
        let stops = |env: &EnvView| below(env, &target).pop().unwrap().kind;
        assert!(matches!(
            stops(&env),
            Kind::Item(TrayAction::Act(Action::Stop { .. }))
        ));
        env.sessions = 2;
        let Kind::Sub(below) = stops(&env) else {
            panic!("it doesn't ask");
        };
        assert_eq!(labels(&below), ["End 2 terminal sessions and stop"]);
        assert!(matches!(
            below[0].kind,
            Kind::Item(TrayAction::Act(Action::StopAnyway { .. }))
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
            Kind::Sub(below) => below,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_menu_shows_state_by_shape_and_word() {
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
    fn a_snapshot_item_restores_exactly_that_one() {
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
    fn a_busy_env_can_not_be_pressed() {
        let mut busy = env("main", EnvStatus::Running);
        busy.operation = Some(OperationView {
            id: OperationId::random(),
            kind: OperationKind::Restore,
            step: None,
            percent: None,
            started_at: Timestamp::UNIX_EPOCH,
        });
        let nodes = menu(&view(vec![busy]));
        let below = children(&nodes, "◐  main · restoring…");
        assert!(
            below.iter().all(|node| !matches!(node.kind, Kind::Item(_))),
            "{below:?}"
        );
    }

    #[test]
    fn many_envs_go_below_their_project() {
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
