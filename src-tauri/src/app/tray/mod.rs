//! The tray: an icon and a menu, rendered from the view.
//!
//! [`model`] describes the menu as plain data; [`live`] updates the visible menu item by item, because an open menu must
//! never be replaced; [`icon`] selects the icon. Actions are looked up by item id and run without a window.

mod icon;
mod live;
mod model;

use std::ops::ControlFlow;
use std::sync::Arc;

use lxc_dev_manager_core::view::View;
use lxc_dev_manager_core::watch::ViewReceiver;
use tao::event_loop::EventLoopProxy;
use tokio_util::sync::CancellationToken;
use tray_icon::menu::{Menu, MenuEvent, MenuId};
use tray_icon::{TrayIcon, TrayIconBuilder};

use crate::host::Desktop;
use icon::IconState;
use live::LiveMenu;
use model::TrayAction;

const ID: &str = "main";

/// Events for the main thread.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The view changed.
    Draw(Arc<View>),
    Pressed(MenuId),
    Quit,
}

/// The visible tray, owned by the main thread.
pub(crate) struct Tray {
    desktop: Arc<Desktop>,
    icon: TrayIcon,
    menu: LiveMenu,
    state: IconState,
}

impl Tray {
    /// Creates the icon with the menu of an empty view.
    pub(crate) fn new(desktop: Arc<Desktop>, wakes: EventLoopProxy<Wake>) -> anyhow::Result<Self> {
        let root = Menu::new();
        let mut menu = LiveMenu::new(root.clone());
        menu.show(&model::menu(&View::default()))?;
        MenuEvent::set_event_handler(Some(move |event: MenuEvent| {
            // Fails only while quitting.
            drop(wakes.send_event(Wake::Pressed(event.id)));
        }));
        let state = IconState::Idle;
        let icon = TrayIconBuilder::new()
            .with_id(ID)
            .with_icon(icon::icon(state)?)
            .with_icon_as_template(true)
            .with_tooltip("LXC Dev Manager")
            .with_menu(Box::new(root))
            .build()?;
        Ok(Self {
            desktop,
            icon,
            menu,
            state,
        })
    }

    /// Handles an event. Breaks to quit.
    pub(crate) fn handle(&mut self, wake: &Wake) -> ControlFlow<()> {
        match wake {
            Wake::Draw(view) => {
                if let Err(error) = self.draw(view) {
                    tracing::warn!(%error, "cannot update tray");
                }
            }
            Wake::Pressed(id) => match self.menu.action(id) {
                Some(TrayAction::Act(action)) => self.desktop.spawn(action),
                Some(TrayAction::OpenWindow) => self.desktop.spawn_window(),
                Some(TrayAction::Quit) => return ControlFlow::Break(()),
                None => tracing::debug!(?id, "menu item without an action"),
            },
            Wake::Quit => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn draw(&mut self, view: &View) -> anyhow::Result<()> {
        self.menu.show(&model::menu(view))?;
        let state = IconState::of(view);
        if self.state != state {
            self.icon
                .set_icon_with_as_template(Some(icon::icon(state)?), true)?;
            self.state = state;
        }
        Ok(())
    }
}

/// Sends each new view to the main thread until shutdown.
pub(crate) async fn follow(
    wakes: EventLoopProxy<Wake>,
    mut view: ViewReceiver,
    shutdown: CancellationToken,
) {
    loop {
        let changed = tokio::select! {
            () = shutdown.cancelled() => return,
            changed = view.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        let Some(view) = view.borrow_and_update().clone() else {
            continue;
        };
        if wakes.send_event(Wake::Draw(view)).is_err() {
            return;
        }
    }
}
