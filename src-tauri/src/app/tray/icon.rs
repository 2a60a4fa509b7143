//! The tray's picture: plain, with a dot while something works, with a mark when something needs a
//! look.

use std::io::Cursor;

use anyhow::Context as _;
use lxc_dev_manager_core::view::View;
use tray_icon::Icon;

/// How the icon looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing to say.
    Calm,
    /// Something works.
    Busy,
    /// Something needs a look.
    Attention,
}

impl Mood {
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
            Self::Calm
        }
    }
}

/// Nobody tells the colour of a panel of Linux, so the glyph is one that is seen on both; GNOME's is
/// dark in its light style too. A Mac tints the template image itself.
#[cfg(not(target_os = "macos"))]
pub(crate) fn picture(mood: Mood) -> anyhow::Result<Icon> {
    let desktop = std::env::var("XDG_CURRENT_DESKTOP").unwrap_or_default();
    let bytes: &[u8] = match (mood, panel_is_dark(&desktop)) {
        (Mood::Calm, true) => include_bytes!("../../../../icons/tray-light@2x.png"),
        (Mood::Busy, true) => include_bytes!("../../../../icons/tray-light-busy@2x.png"),
        (Mood::Attention, true) => include_bytes!("../../../../icons/tray-light-attention@2x.png"),
        (Mood::Calm, false) => include_bytes!("../../../../icons/tray-neutral@2x.png"),
        (Mood::Busy, false) => include_bytes!("../../../../icons/tray-neutral-busy@2x.png"),
        (Mood::Attention, false) => {
            include_bytes!("../../../../icons/tray-neutral-attention@2x.png")
        }
    };
    decoded(bytes)
}

/// `ubuntu:GNOME`, `KDE`, `XFCE`…: names of desktops, the most specific first.
#[cfg(not(target_os = "macos"))]
fn panel_is_dark(desktop: &str) -> bool {
    desktop.split(':').any(|name| name == "GNOME")
}

#[cfg(target_os = "macos")]
pub(crate) fn picture(mood: Mood) -> anyhow::Result<Icon> {
    decoded(match mood {
        Mood::Calm => include_bytes!("../../../../icons/trayTemplate@2x.png"),
        Mood::Busy => include_bytes!("../../../../icons/trayTemplate-busy@2x.png"),
        Mood::Attention => include_bytes!("../../../../icons/trayTemplate-attention@2x.png"),
    })
}

/// The pixels of a PNG; ours have eight bits a channel, with alpha.
fn decoded(bytes: &[u8]) -> anyhow::Result<Icon> {
    let mut reader = png::Decoder::new(Cursor::new(bytes)).read_info()?;
    let size = reader.output_buffer_size().context("a picture too big")?;
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
    fn what_no_env_can_tell_needs_a_look_too() {
        let mut view = View::default();
        assert_eq!(Mood::of(&view), Mood::Calm);
        view.engines = vec![engine(false), engine(true)];
        assert_eq!(Mood::of(&view), Mood::Calm);
        view.engines = vec![engine(false)];
        assert_eq!(Mood::of(&view), Mood::Attention);
        let error = lxc_dev_manager_core::Error::new(lxc_dev_manager_core::ErrorKind::Config, "x");
        let broken = ProjectView {
            name: None,
            path: "/p".into(),
            problem: Some(error.report()),
            envs: Vec::new(),
        };
        let view = View {
            engines: vec![engine(true)],
            projects: vec![broken],
        };
        assert_eq!(Mood::of(&view), Mood::Attention);
    }

    #[test]
    fn every_mood_has_a_picture() {
        for mood in [Mood::Calm, Mood::Busy, Mood::Attention] {
            assert!(picture(mood).is_ok(), "{mood:?}");
        }
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn only_a_panel_that_is_dark_has_the_light_glyph() {
        assert!(panel_is_dark("ubuntu:GNOME"));
        assert!(!panel_is_dark("XFCE"));
        assert!(!panel_is_dark(""));
    }
}
