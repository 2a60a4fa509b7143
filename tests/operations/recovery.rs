//! Recovery by other processes, and locks between processes.

use lxc_dev_manager_core::backend::Backend;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::model::OperationId;
use serde_json::json;

use super::{Stage, env, notices};

#[tokio::test]
async fn next_process_completes_failed_rollback() {
    for call in ["start", "exec", "set_marks", "create_snapshot"] {
        let stage = Stage::new(Pool::Btrfs);
        stage.fake.fail_next(call);
        // The rollback fails, too.
        stage.fake.fail_next("delete");
        assert!(stage.create("dev").await.is_err());
        assert_eq!(stage.instances().await, ["web-dev"], "{call}");
        assert_eq!(stage.journals(), 1, "{call}");
        let next = stage.other_process();
        assert_eq!(next.interrupted().unwrap().len(), 1);
        let mut events = next.bus().subscribe();
        next.recover().await.unwrap();
        assert_eq!(
            notices(&mut events),
            ["an interrupted create of `dev` was rolled back"]
        );
        assert!(stage.instances().await.is_empty(), "{call}");
        assert_eq!(stage.journals(), 0, "{call}");
        assert!(!stage.file().contains("dev"), "{call}");
    }
}

#[tokio::test]
async fn operations_on_one_env_are_serialised() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let (first, second) = (stage.operations.clone(), stage.other_process());
    let project = stage.project();
    let dev = env("dev");
    let (a, b) = tokio::join!(first.stop(&project, &dev), second.stop(&project, &dev));
    let already = [a.unwrap().already, b.unwrap().already];
    assert_eq!(
        already.iter().filter(|already| **already).count(),
        1,
        "{already:?}"
    );
}

#[tokio::test]
async fn keeps_journal_while_engine_is_unreachable() {
    let stage = Stage::new(Pool::Btrfs);
    stage.fake.fail_next("start");
    stage.fake.fail_next("delete");
    assert!(stage.create("dev").await.is_err());
    stage.fake.set_unreachable(true);
    let next = stage.other_process();
    let mut events = next.bus().subscribe();
    next.recover().await.unwrap();
    assert!(notices(&mut events)[0].contains("cannot be recovered yet"));
    assert_eq!(stage.journals(), 1);
    stage.fake.set_unreachable(false);
    next.recover().await.unwrap();
    assert!(stage.instances().await.is_empty());
}

#[tokio::test]
async fn reports_dropped_copy_into_removed_env() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let mut project = stage.project();
    stage.operations.stop(&project, &env("dev")).await.unwrap();
    // The journal of an interrupted copy.
    let id = OperationId::random();
    let record = json!({
        "version": 2,
        "id": id,
        "verb": "transfer",
        "env": project.env_ref(&env("dev")),
        "engine": stage.fake.id(),
        "instance": "web-dev",
        "was_running": false,
        "snapshot": null,
        "detail": {"kind": "into-guest", "staging": "/home/dev/.ldm-1", "target": "/home/dev/x"},
        "started_at": "2026-01-01T00:00:00Z",
    });
    let journals = stage.root.path().join("home/journal");
    std::fs::write(journals.join(format!("{id}.json")), format!("{record}\n")).unwrap();
    let mut events = stage.operations.bus().subscribe();
    // Recovery waits until the env runs.
    stage.operations.recover().await.unwrap();
    assert_eq!(stage.journals(), 1);
    let dev = env("dev");
    stage.operations.remove(&mut project, &dev).await.unwrap();
    let notices = notices(&mut events);
    assert!(
        notices
            .iter()
            .any(|text| text.contains("/home/dev/x was not copied")),
        "{notices:?}"
    );
    assert_eq!(stage.journals(), 0);
}
