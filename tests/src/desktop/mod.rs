//! A headless desktop for tests and benches: X server, D-Bus, app and tray.

pub mod screen;
pub mod tray;
