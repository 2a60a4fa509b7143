//! A desktop without a desktop: a screen and a bus of one's own, the app on them, and a tray that
//! takes its item. Shared by the tests of the app and by the bench of its memory.

pub mod screen;
pub mod tray;
