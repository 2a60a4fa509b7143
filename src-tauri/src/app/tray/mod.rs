//! The tray: an icon and a live menu, rendered from the view.
//!
//! [`model`] says what the menu looks like, as plain data; [`live`] changes the menu on the screen
//! until it looks so, item by item, because a menu that is open must never be replaced; [`icon`]
//! chooses the picture. Actions are looked up in a table by the item's id and carried out by the
//! engine room, with no window needed.

mod icon;
mod live;
mod model;

use std::ops::ControlFlow;
use std::sync::Arc;

use lxc_dev_manager_core::view::View;
use lxc_dev_manager_core::watch::Watch;
use tao::event_loop::EventLoopProxy;
use tokio_util::sync::CancellationToken;
use tray_icon::menu::{Menu, MenuEvent, MenuId};
use tray_icon::{TrayIcon, TrayIconBuilder};

use crate::host::Desktop;
use icon::Mood;
use live::LiveMenu;
use model::TrayAction;

/// Name of the tray's icon.
const ID: &str = "main";

/// What wakes the main thread.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The view has changed.
    Draw(View),
    /// A menu item was pressed.
    Pressed(MenuId),
    /// The app shall end.
    Quit,
}

/// The tray on the screen; belongs to the main thread.
pub(crate) struct Tray {
    desktop: Arc<Desktop>,
    icon: TrayIcon,
    menu: LiveMenu,
    mood: Mood,
}

impl Tray {
    /// Makes the icon with a menu that says that it looks around.
    pub(crate) fn new(desktop: Arc<Desktop>, wakes: EventLoopProxy<Wake>) -> anyhow::Result<Self> {
        let root = Menu::new();
        let mut menu = LiveMenu::new(root.clone());
        menu.show(&model::menu(&View::default()))?;
        MenuEvent::set_event_handler(Some(move |event: MenuEvent| {
            // An error says that the app is quitting.
            drop(wakes.send_event(Wake::Pressed(event.id)));
        }));
        let mood = Mood::Calm;
        let icon = TrayIconBuilder::new()
            .with_id(ID)
            .with_icon(icon::picture(mood)?)
            .with_icon_as_template(true)
            .with_tooltip("LXC Dev Manager")
            .with_menu(Box::new(root))
            .build()?;
        Ok(Self {
            desktop,
            icon,
            menu,
            mood,
        })
    }

    /// Does what it was woken for; breaks where that is the end.
    pub(crate) fn take(&mut self, wake: Wake) -> ControlFlow<()> {
        match wake {
            Wake::Draw(view) => {
                if let Err(error) = self.draw(&view) {
                    tracing::warn!(%error, "the tray can't be drawn");
                }
            }
            Wake::Pressed(id) => match self.menu.action(&id) {
                Some(TrayAction::Act(action)) => self.desktop.spawn(action),
                Some(TrayAction::OpenWindow) => self.desktop.spawn_window(),
                Some(TrayAction::Quit) => return ControlFlow::Break(()),
                None => tracing::debug!(?id, "an item without an action"),
            },
            Wake::Quit => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn draw(&mut self, view: &View) -> anyhow::Result<()> {
        self.menu.show(&model::menu(view))?;
        let mood = Mood::of(view);
        if self.mood != mood {
            self.icon
                .set_icon_with_as_template(Some(icon::picture(mood)?), true)?;
            self.mood = mood;
        }
        Ok(())
    }
}

/// Wakes the main thread with what menu and icon shall show, until the app ends.
pub(crate) async fn follow(wakes: EventLoopProxy<Wake>, watch: Watch, shutdown: CancellationToken) {
    while let Some(mut events) = watch.subscribe().await {
        let mut view = View::default();
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = events.recv() => event,
            };
            let Some(event) = event else { break };
            view.apply(&event.patch);
            // What has piled up is drawn once.
            while let Ok(event) = events.try_recv() {
                view.apply(&event.patch);
            }
            if wakes.send_event(Wake::Draw(view.clone())).is_err() {
                return;
            }
        }
    }
}
