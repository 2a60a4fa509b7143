//! Writes what the page takes from core (types, labels, one env of each status), and fails where the
//! committed files are stale.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use ts_rs::{Config, TS};

use lxc_dev_manager_core::error::{ErrorKind, ErrorReport};
use lxc_dev_manager_core::model::{EngineKind, EnvStatus, Limits, PortState};
use lxc_dev_manager_core::view::{
    Action, ActionKind, AllowedActions, EngineView, EnvRef, EnvView, OperationKind, OperationView,
    Outcome, PartView, PortView, ProjectHead, ProjectView, SnapshotView, UndoView, View, ViewEvent,
    ViewPatch,
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
        ActionKind,
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
        PartView,
        ProjectHead,
        Outcome,
        ViewPatch,
        ViewEvent,
        Action,
    );
    text
}

fn labels() -> String {
    let mut text = String::from(
        "// Written by `make types` from crates/core. Do not edit.\n\nimport type { EngineKind, EnvStatus, \
         OperationKind, PortState } from \"./types.gen\";\n",
    );
    let mut table = |name: &str, key: &str, labels: Value| {
        let value = if key == "OperationKind" {
            "{ imperative: string; participle: string; past: string; noun: string }"
        } else {
            "string"
        };
        let labels = serde_json::to_string_pretty(&labels).unwrap();
        let _ = writeln!(
            text,
            "\nexport const {name}: Record<{key}, {value}> = {labels};"
        );
    };
    let operations = OperationKind::ALL.map(|kind| (json!(kind), json!(kind.labels())));
    table("OPERATION_LABELS", "OperationKind", object(operations));
    let statuses = EnvStatus::ALL.map(|status| (json!(status), json!(status.description())));
    table("STATUS_LABELS", "EnvStatus", object(statuses));
    let engines = EngineKind::ALL.map(|engine| (json!(engine), json!(engine.label())));
    table("ENGINE_LABELS", "EngineKind", object(engines));
    let ports = PortState::ALL.map(|state| (json!(state), json!(state.description())));
    table("PORT_LABELS", "PortState", object(ports));
    text
}

fn object<const N: usize>(entries: [(Value, Value); N]) -> Value {
    let entries = entries.into_iter();
    Value::Object(
        entries
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), value))
            .collect(),
    )
}

/// An env of each status, with and without an operation: the tests of the page hold it against them.
fn envs() -> String {
    let env = |status: EnvStatus, busy: bool| {
        let mut env: EnvView = serde_json::from_value(json!({
            "project": null, "name": "main", "instance": "main", "engine": "lxd", "image": null,
            "status": status, "address": null, "ports": [], "limits": {}, "problem": null,
            "snapshots": [{"name": "before", "created_at": "2026-05-20T12:00:00Z", "description": null}],
            "operation": busy.then(|| json!({
                "id": "018f0000-0000-4000-8000-000000000000", "verb": "stop", "step": null,
                "percent": null, "started_at": "2026-05-20T12:00:00Z",
            })),
            "undo": {
                "id": "018f0000-0000-4000-8000-000000000000", "verb": "restore",
                "at": "2026-05-20T12:00:00Z", "expires_at": "2026-05-23T12:00:00Z",
            },
        }))
        .unwrap();
        env.actions = AllowedActions::of(&env);
        env
    };
    let envs = EnvStatus::ALL.map(|status| [env(status, false), env(status, true)]);
    serde_json::to_string_pretty(envs.as_flattened()).unwrap() + "\n"
}

#[test]
fn page_files_are_up_to_date() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui/src");
    for (file, fresh) in [
        ("lib/types.gen.ts", declarations()),
        ("lib/labels.gen.ts", labels()),
        ("demo/envs.gen.json", envs()),
    ] {
        let path = directory.join(file);
        if std::env::var_os("LDM_WRITE_TYPES").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == fresh, "{file} is stale: run `make types`");
    }
}
