//! Generates Tauri's context. The commands are named, so that a capability has to allow each.

fn main() {
    let commands =
        tauri_build::AppManifest::new().commands(&["watch", "act", "trust", "close_window"]);
    let attributes = tauri_build::Attributes::new().app_manifest(commands);
    if let Err(error) = tauri_build::try_build(attributes) {
        panic!("{error:#}");
    }
}
