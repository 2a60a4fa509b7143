//! A headless desktop: X server, D-Bus, app and tray. Used by tests and benches.

pub mod screen;
pub mod tray;
