//! What failed twice, or met somebody else, and is mended by the next process.

use lxc_dev_manager_core::backend::fake::Pool;

use super::{Stage, env, notices};

#[tokio::test]
async fn a_process_that_dies_while_taking_back_leaves_it_to_the_next() {
    for call in ["start", "exec", "set_marks", "snapshot"] {
        let stage = Stage::new(Pool::Btrfs);
        stage.fake.fail_next(call);
        // Taking back fails too: what is left is what a killed process would leave.
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
            ["an interrupted create of `dev` was taken back"]
        );
        assert!(stage.instances().await.is_empty(), "{call}");
        assert_eq!(stage.journals(), 0, "{call}");
        assert!(!stage.file().contains("dev"), "{call}");
    }
}

#[tokio::test]
async fn two_operations_on_one_env_wait_for_each_other() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let (first, second) = (stage.engine.clone(), stage.other_process());
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
async fn what_can_not_be_mended_now_stays() {
    let stage = Stage::new(Pool::Btrfs);
    stage.fake.fail_next("start");
    stage.fake.fail_next("delete");
    assert!(stage.create("dev").await.is_err());
    stage.fake.set_unreachable(true);
    let next = stage.other_process();
    let mut events = next.bus().subscribe();
    next.recover().await.unwrap();
    assert!(notices(&mut events)[0].contains("can't be mended yet"));
    assert_eq!(stage.journals(), 1);
    stage.fake.set_unreachable(false);
    next.recover().await.unwrap();
    assert!(stage.instances().await.is_empty());
}
