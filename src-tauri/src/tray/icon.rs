//! The tray's picture: plain, with a dot while something works, with a mark when something needs a
//! look.

use lxc_dev_manager_core::view::View;
use tauri::image::Image;

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
        if envs().any(|env| env.operation.is_some()) {
            Self::Busy
        } else if envs().any(|env| env.problem.is_some()) {
            Self::Attention
        } else {
            Self::Calm
        }
    }
}

/// Panels of Linux are dark more often than not; a Mac tints the template image itself.
#[cfg(not(target_os = "macos"))]
pub(crate) fn picture(mood: Mood) -> tauri::Result<Image<'static>> {
    Image::from_bytes(match mood {
        Mood::Calm => include_bytes!("../../../icons/tray-light@2x.png"),
        Mood::Busy => include_bytes!("../../../icons/tray-light-busy@2x.png"),
        Mood::Attention => include_bytes!("../../../icons/tray-light-attention@2x.png"),
    })
}

#[cfg(target_os = "macos")]
pub(crate) fn picture(mood: Mood) -> tauri::Result<Image<'static>> {
    Image::from_bytes(match mood {
        Mood::Calm => include_bytes!("../../../icons/trayTemplate@2x.png"),
        Mood::Busy => include_bytes!("../../../icons/trayTemplate-busy@2x.png"),
        Mood::Attention => include_bytes!("../../../icons/trayTemplate-attention@2x.png"),
    })
}
