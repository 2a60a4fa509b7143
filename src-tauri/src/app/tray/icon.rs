//! Tray icons: idle, busy (dot), or attention (mark).

use std::io::Cursor;

use anyhow::Context as _;
use lxc_dev_manager_core::view::View;
use tray_icon::Icon;

/// State shown by the icon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IconState {
    Idle,
    /// An operation is running.
    Busy,
    /// Something failed or is unreachable.
    Attention,
}

impl IconState {
    pub(crate) fn of(view: &View) -> Self {
        let envs = || view.projects.iter().flat_map(|project| &project.envs);
        let no_engine =
            !view.engines.is_empty() && view.engines.iter().all(|engine| !engine.reachable);
        let broken = view
            .projects
            .iter()
            .any(|project| project.problem.is_some());
        if envs().any(|env| env.operation.is_some()) {
            Self::Busy
        } else if no_engine || broken || envs().any(|env| env.problem.is_some()) {
            Self::Attention
        } else {
            Self::Idle
        }
    }
}

/// The panel colour is unknown on Linux, so the icon is visible on both; GNOME's panel is always dark. macOS tints the
/// template image.
#[cfg(not(target_os = "macos"))]
pub(crate) fn icon(state: IconState) -> anyhow::Result<Icon> {
    let desktop = std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default();
    let bytes: &[u8] = match (state, panel_is_dark(&desktop)) {
        (IconState::Idle, true) => include_bytes!("../../../../icons/tray-light@2x.png"),
        (IconState::Busy, true) => include_bytes!("../../../../icons/tray-light-busy@2x.png"),
        (IconState::Attention, true) => {
            include_bytes!("../../../../icons/tray-light-attention@2x.png")
        }
        (IconState::Idle, false) => include_bytes!("../../../../icons/tray-neutral@2x.png"),
        (IconState::Busy, false) => include_bytes!("../../../../icons/tray-neutral-busy@2x.png"),
        (IconState::Attention, false) => {
            include_bytes!("../../../../icons/tray-neutral-attention@2x.png")
        }
    };
    decode(bytes)
}

/// `desktop` is a list such as `ubuntu:GNOME`, `KDE` or `XFCE`.
#[cfg(not(target_os = "macos"))]
fn panel_is_dark(desktop: &str) -> bool {
    desktop.split(':').any(|name| name == "GNOME")
}

#[cfg(target_os = "macos")]
pub(crate) fn icon(state: IconState) -> anyhow::Result<Icon> {
    decode(match state {
        IconState::Idle => include_bytes!("../../../../icons/trayTemplate@2x.png"),
        IconState::Busy => include_bytes!("../../../../icons/trayTemplate-busy@2x.png"),
        IconState::Attention => include_bytes!("../../../../icons/trayTemplate-attention@2x.png"),
    })
}

/// Decodes a PNG with 8-bit RGBA.
fn decode(bytes: &[u8]) -> anyhow::Result<Icon> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
    let size = reader.output_buffer_size().context("image too large")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels)?;
    Ok(Icon::from_rgba(pixels, frame.width, frame.height)?)
}

#[cfg(test)]
mod tests {
    use lxc_dev_manager_core::model::EngineKind;
    use lxc_dev_manager_core::view::{EngineView, ProjectView};

    use super::*;

    fn engine(reachable: bool) -> EngineView {
        EngineView {
            kind: EngineKind::Incus,
            address: String::new(),
            reachable,
            problem: None,
        }
    }

    #[test]
    fn unreachable_engines_and_broken_projects_need_attention() {
        let mut view = View::default();
        assert_eq!(IconState::of(&view), IconState::Idle);
        view.engines = vec![engine(false), engine(true)];
        assert_eq!(IconState::of(&view), IconState::Idle);
        view.engines = vec![engine(false)];
        assert_eq!(IconState::of(&view), IconState::Attention);
        let error = lxc_dev_manager_core::Error::new(lxc_dev_manager_core::ErrorKind::Config, "x");
        let broken = ProjectView {
            name: None,
            path: "/p".into(),
            untrusted: Vec::new(),
            problem: Some(error.report()),
            envs: Vec::new(),
        };
        let view = View {
            engines: vec![engine(true)],
            projects: vec![broken],
        };
        assert_eq!(IconState::of(&view), IconState::Attention);
    }

    #[test]
    fn every_state_has_an_icon() {
        for state in [IconState::Idle, IconState::Busy, IconState::Attention] {
            assert!(icon(state).is_ok(), "{state:?}");
        }
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn light_icon_is_for_dark_panels_only() {
        assert!(panel_is_dark("ubuntu:GNOME"));
        assert!(!panel_is_dark("XFCE"));
        assert!(!panel_is_dark(""));
    }
}
