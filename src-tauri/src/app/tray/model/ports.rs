//! A port in the menu.

use lxc_dev_manager_core::model::PortState;
use lxc_dev_manager_core::view::{Action, EnvRef, PortView};

use super::Node;

/// A port that is forwarded, or that somebody else has.
pub(super) fn node(
    port: &PortView,
    target: impl Fn() -> EnvRef,
    act: impl Fn(&str, String, Action) -> Node,
) -> Option<Node> {
    let (number, guest) = (port.host, port.guest);
    let key = format!("port {guest}");
    match port.state {
        // Nobody knows whether anything listens: nothing to offer.
        PortState::Idle | PortState::Native => None,
        PortState::Taken => Some(Node::text(&key, format!("▲  Port {number} is taken"))),
        PortState::Forwarded => {
            let star = if port.focused { " ★" } else { "" };
            let open = Action::OpenPort {
                env: target(),
                port: guest,
            };
            let mut below = vec![act("open", "Open in the browser".into(), open)];
            if !port.focused {
                let focus = Action::Focus {
                    env: target(),
                    port: guest,
                };
                below.push(act("focus", "Give it the focus".into(), focus));
            }
            Some(Node::sub(&key, format!("Port {number}{star}"), below))
        }
    }
}
