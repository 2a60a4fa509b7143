//! State and journals that version 0.1 left on an LXD, recorded on 1 December 2026: they are read as
//! they were written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::{Fake, Pool};
use lxc_dev_manager_core::clock::Clock;
use lxc_dev_manager_core::forward::Forwarding;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::operations::Operations;
use lxc_dev_manager_core::preferences::Preferences;
use lxc_dev_manager_core::project::Project;
use lxc_dev_manager_core::view::OperationKind;

use super::{env, notices};

/// An hour after the recording: nothing has expired.
struct RecordingTime;

impl Clock for RecordingTime {
    fn now(&self) -> Timestamp {
        "2026-12-01T01:30:00Z".parse().unwrap()
    }
}

struct Recorded {
    root: tempfile::TempDir,
    home: Home,
    operations: Operations,
}

impl Recorded {
    /// A copy of the recorded home and project, over an empty engine.
    fn open() -> Self {
        let root = tempfile::tempdir().unwrap();
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("operations/recorded");
        let fake = Arc::new(Fake::new(Pool::Btrfs));
        let project = root.path().join("project");
        let engine = serde_json::to_string(fake.id()).unwrap();
        let lxd = r#"{"kind":"lxd","address":"/recorded/lxd.socket","project":"default"}"#;
        let copy = |from: &Path, to: PathBuf| {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let text = fs::read_to_string(from).unwrap();
            let text = text.replace("@project@", project.to_str().unwrap());
            fs::write(to, text.replace(lxd, &engine)).unwrap();
        };
        copy(
            &recorded.join("containers.yaml"),
            project.join("containers.yaml"),
        );
        for file in files(&recorded.join("state")) {
            let name = file.strip_prefix(recorded.join("state")).unwrap();
            copy(&file, root.path().join("home").join(name));
        }
        for file in files(&recorded.join("journal")) {
            let text = fs::read_to_string(&file).unwrap();
            let record: serde_json::Value =
                serde_json::from_str(text.lines().next().unwrap()).unwrap();
            let id = record["id"].as_str().unwrap();
            copy(&file, root.path().join(format!("home/journal/{id}.json")));
        }
        let home = Home::new(root.path().join("home"), None, None);
        let operations = Operations::new(vec![fake], home.clone(), Arc::new(RecordingTime));
        Self {
            root,
            home,
            operations,
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[tokio::test]
async fn recorded_state_is_read() {
    let recorded = Recorded::open();
    let directory = recorded.root.path().join("project");
    let project = Project::open(&directory).unwrap();
    let snapshots = &project.file().entry(&env("dev")).unwrap().snapshots;
    assert_eq!(
        snapshots.keys().collect::<Vec<_>>(),
        ["initial-state", "before"]
    );
    let known = recorded.operations.registry().all().unwrap();
    assert_eq!(known[0].path, directory);
    let (preferences, warning) = Preferences::read(&recorded.home).unwrap();
    assert_eq!(
        (preferences.undo.max_share.to_string(), warning),
        ("30 %".to_owned(), None)
    );
    Forwarding::check(&recorded.home).unwrap();
    let undo = recorded.operations.undo_entries().unwrap();
    let kinds: Vec<OperationKind> = undo.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [OperationKind::Remove, OperationKind::Restore]);
}

#[tokio::test]
async fn recorded_journals_are_recovered() {
    let recorded = Recorded::open();
    let mut interrupted = recorded.operations.interrupted().unwrap();
    interrupted.sort();
    let nouns = [
        "create of `new`",
        "file copy of `dev`",
        "removal of `dev`",
        "rename of `dev`",
        "restore of `dev`",
    ];
    let expected =
        nouns.map(|noun| format!("an interrupted {noun} will be recovered by the next change"));
    assert_eq!(interrupted, expected);

    let mut events = recorded.operations.bus().subscribe();
    recorded.operations.recover().await.unwrap();
    let mut outcomes = notices(&mut events);
    outcomes.sort();
    // The engine has none of their instances any more.
    assert_eq!(
        outcomes,
        [
            "an interrupted create of `new` was dropped: nothing was created",
            "an interrupted file copy of `dev` was dropped: the env is gone",
            "an interrupted removal of `dev` was rolled back",
            "an interrupted rename of `dev` was dropped: the env is gone",
            "an interrupted restore of `dev` was dropped: the env is gone",
        ]
    );
    assert_eq!(
        recorded.operations.interrupted().unwrap(),
        Vec::<String>::new()
    );
}
