//! Port entries of the menu.

use lxc_dev_manager_core::model::PortState;
use lxc_dev_manager_core::view::{Action, EnvRef, PortView};

use super::{Node, TrayAction};

/// Returns the entry of a port that is forwarded or in use by another program.
pub(super) fn node(port: &PortView, target: impl Fn() -> EnvRef) -> Option<Node> {
    let (number, guest) = (port.host, port.guest);
    let key = format!("port {guest}");
    match port.state {
        // Unknown whether anything listens.
        PortState::Idle | PortState::Native => None,
        PortState::Taken => Some(Node::text(&key, format!("▲  Port {number} is in use"))),
        PortState::Forwarded => {
            let star = if port.focused { " ★" } else { "" };
            let env = target();
            let open = TrayAction::Act(Action::OpenPort { env, port: guest });
            let mut below = vec![Node::item("open", "Open in browser", open)];
            if !port.focused {
                let env = target();
                let focus = TrayAction::Act(Action::Focus { env, port: guest });
                below.push(Node::item("focus", "Make default target", focus));
            }
            Some(Node::sub(&key, format!("Port {number}{star}"), below))
        }
    }
}
