//! The tray: an icon and a live menu, rendered from the view.
//!
//! [`model`] says what the menu looks like, as plain data; [`live`] changes the menu on the screen
//! until it looks so, item by item, because a menu that is open must never be replaced; [`icon`]
//! chooses the picture. Actions are looked up in a table by the item's id and carried out by the
//! engine room, with no window needed.

mod icon;
mod live;
mod model;

use std::sync::{Arc, Mutex, PoisonError};

use lxc_dev_manager_core::view::View;
use lxc_dev_manager_core::watch::Watch;
use tauri::menu::Menu;
use tauri::tray::{TrayIcon, TrayIconBuilder};
use tauri::{AppHandle, Manager, Wry};
use tokio_util::sync::CancellationToken;

use crate::host::Desktop;
use live::LiveMenu;
use model::TrayAction;

/// Name of the tray's icon.
const ID: &str = "main";

/// The tray's state, owned by the main thread's closures.
struct Tray {
    icon: TrayIcon<Wry>,
    menu: Mutex<LiveMenu>,
    mood: Mutex<Option<icon::Mood>>,
}

/// Makes the icon with a menu that says that it looks around.
pub(crate) fn build(app: &AppHandle, desktop: Arc<Desktop>) -> tauri::Result<()> {
    let menu = Menu::new(app)?;
    let mut live = LiveMenu::new(app.clone(), menu.clone());
    live.show(&model::menu(&View::default()))?;
    let icon = TrayIconBuilder::with_id(ID)
        .icon(icon::picture(icon::Mood::Calm)?)
        .icon_as_template(true)
        .tooltip("LXC Dev Manager")
        .menu(&menu)
        .on_menu_event(move |app, event| {
            let tray = app.state::<Tray>();
            let action = tray
                .menu
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .action(event.id());
            match action {
                Some(TrayAction::Act(action)) => desktop.spawn(action),
                Some(TrayAction::OpenWindow) => desktop.spawn_window(),
                Some(TrayAction::Quit) => desktop.quit(),
                None => tracing::debug!(id = ?event.id(), "an item without an action"),
            }
        })
        .build(app)?;
    app.manage(Tray {
        icon,
        menu: Mutex::new(live),
        mood: Mutex::new(Some(icon::Mood::Calm)),
    });
    Ok(())
}

/// Keeps menu and icon as the view is, until the app ends.
pub(crate) async fn follow(app: AppHandle, watch: Watch, shutdown: CancellationToken) {
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
            let (shown, handle) = (view.clone(), app.clone());
            let drawn = app.run_on_main_thread(move || {
                if let Err(error) = draw(&handle, &shown) {
                    tracing::warn!(%error, "the tray can't be drawn");
                }
            });
            if drawn.is_err() {
                return;
            }
        }
    }
}

fn draw(app: &AppHandle, view: &View) -> tauri::Result<()> {
    let tray = app.state::<Tray>();
    tray.menu
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .show(&model::menu(view))?;
    let mood = icon::Mood::of(view);
    let mut shown = tray.mood.lock().unwrap_or_else(PoisonError::into_inner);
    if *shown != Some(mood) {
        tray.icon
            .set_icon_with_as_template(Some(icon::picture(mood)?), true)?;
        *shown = Some(mood);
    }
    Ok(())
}
