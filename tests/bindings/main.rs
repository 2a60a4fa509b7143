//! Writes the page's types from ours, and fails where the committed ones are stale.

use std::fmt::Write as _;
use std::path::Path;

use ts_rs::{Config, TS};

use lxc_dev_manager_core::error::{ErrorKind, ErrorReport};
use lxc_dev_manager_core::model::{EngineKind, EnvStatus, Limits, PortState};
use lxc_dev_manager_core::view::{
    Action, EngineView, EnvRef, EnvView, OperationKind, OperationView, Outcome, PortView,
    ProjectHead, ProjectView, SnapshotView, UndoView, View, ViewEvent, ViewPatch,
};

fn declarations() -> String {
    let config = Config::default();
    let mut text =
        String::from("// Written by `make types` from crates/core/src/view/. Do not edit.\n");
    macro_rules! declare {
        ($($ty:ty),* $(,)?) => {$(
            let _ = writeln!(text, "\nexport {}", <$ty>::decl(&config));
        )*};
    }
    declare!(
        ErrorKind,
        ErrorReport,
        EngineKind,
        EnvStatus,
        PortState,
        OperationKind,
        Limits,
        PortView,
        SnapshotView,
        OperationView,
        UndoView,
        EnvView,
        EngineView,
        ProjectView,
        View,
        EnvRef,
        ProjectHead,
        Outcome,
        ViewPatch,
        ViewEvent,
        Action,
    );
    text
}

#[test]
fn types_of_the_page_are_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/src/lib/types.gen.ts");
    let fresh = declarations();
    if std::env::var_os("LDM_WRITE_TYPES").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "{} is stale: run `make types`",
        path.display()
    );
}
