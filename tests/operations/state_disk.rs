//! A state directory that is full, or in which one file is unusable, and locks that others hold.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::error::ErrorKind;
use rustix::fs::{FlockOperation, flock};

use super::{Stage, env, notices};

#[tokio::test]
async fn unusable_lock_and_journal_stop_only_their_env() {
    let stage = Stage::new(Pool::Btrfs);
    for name in ["dev", "other"] {
        stage.create(name).await.unwrap();
    }
    let home = stage.root.path().join("home");
    let lock = home.join("run/web-dev.lock");
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    std::fs::create_dir(home.join("journal/directory.json")).unwrap();
    std::fs::write(home.join("journal/bytes.json"), [0xff, 0xfe, b'\n']).unwrap();
    std::fs::write(home.join("journal/text.json"), "no json\n").unwrap();
    let (project, operations) = (stage.project(), &stage.operations);
    let refused = operations.stop(&project, &env("dev")).await.unwrap_err();
    assert!(
        refused.to_string().contains("cannot stop `dev`"),
        "{refused}"
    );
    operations.stop(&project, &env("other")).await.unwrap();
    operations.gc(false).await.unwrap();
    operations
        .remove(&mut stage.project(), &env("other"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_waiting_requests_leave_the_process_answering() {
    let stage = Arc::new(Stage::new(Pool::Btrfs));
    stage.create("dev").await.unwrap();
    let lock = stage.root.path().join("home/run/web-dev.lock");
    let held = File::open(lock).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let waiting: Vec<_> = (0..600)
        .map(|_| {
            let stage = stage.clone();
            tokio::spawn(async move { stage.operations.start(&stage.project(), &env("dev")).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Also what needs a thread of the pool.
    let answered = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        stage
            .operations
            .overview(&[stage.directory()])
            .await
            .unwrap()
    });
    assert_eq!(answered.await.unwrap().projects.len(), 1);
    assert!(waiting.iter().all(|request| !request.is_finished()));
    drop(held);
    for request in waiting {
        request.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn lock_of_a_project_that_stays_held_is_named() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let held = File::open(stage.directory()).unwrap();
    flock(&held, FlockOperation::LockExclusive).unwrap();
    let started = Instant::now();
    let operations = stage.operations.clone();
    let directory = stage.directory();
    let task = tokio::spawn(async move {
        let mut project = lxc_dev_manager_core::project::Project::open(&directory).unwrap();
        operations.remove(&mut project, &env("dev")).await
    });
    // The only thread of the runtime goes on.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let refused = task.await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused:?}");
    let pid = format!("is locked by process {}", std::process::id());
    let said = format!("{refused:?}");
    assert!(said.contains(&pid) || !cfg!(target_os = "linux"), "{said}");
    drop(held);
    // Nothing is half done.
    let mut events = stage.operations.bus().subscribe();
    stage
        .operations
        .remove(&mut stage.project(), &env("dev"))
        .await
        .unwrap();
    assert_eq!(notices(&mut events), [""; 0]);
}
