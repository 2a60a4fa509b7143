//! Creating an env.

use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::fake::Pool;
use lxc_dev_manager_core::backend::{Files, Instances};
use lxc_dev_manager_core::backend::{Image, LaunchSpec, Marks, Progress, Settings};
use lxc_dev_manager_core::model::{EnvStatus, OperationId};
use tokio_util::sync::CancellationToken;

use super::{Stage, dev_instance, env, notices, request};

#[tokio::test]
async fn create_adds_env_to_engine_file_and_registry() {
    let stage = Stage::new(Pool::Btrfs);
    let made = stage.create("dev").await.unwrap();
    assert_eq!(made.instance, dev_instance());
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    assert_eq!(instance.marks.operation, None);
    assert_eq!(instance.marks.env, Some(env("dev")));
    assert_eq!(instance.snapshots.len(), 1);
    assert!(stage.file().contains("initial-state"), "{}", stage.file());
    let known = stage.operations.registry().projects().unwrap().0;
    assert_eq!(known.len(), 1);
    assert_eq!(stage.journals(), 0);
}

#[tokio::test]
async fn failed_create_leaves_nothing() {
    for call in [
        "instance",
        "instances",
        "find_image",
        "create",
        "start",
        "exec",
        "capabilities",
        "set_marks",
        "create_snapshot",
    ] {
        let stage = Stage::new(Pool::Btrfs);
        let before = stage.file();
        stage.fake.fail_next(call);
        let error = stage.create("dev").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Engine, "{call}: {error:?}");
        assert_eq!(stage.instances().await, Vec::<String>::new(), "{call}");
        assert_eq!(stage.file(), before, "{call}");
        assert_eq!(stage.journals(), 0, "{call}");
        stage.create("dev").await.unwrap();
    }
}

#[tokio::test]
async fn creates_env_without_snapshot_where_snapshots_are_forbidden() {
    let stage = Stage::new(Pool::Btrfs);
    stage.fake.forbid_snapshots();
    let mut events = stage.operations.bus().subscribe();
    stage.create("dev").await.unwrap();
    let instance = stage.fake.instance(&dev_instance()).await.unwrap();
    assert!(instance.snapshots.is_empty());
    assert!(!stage.file().contains("initial-state"), "{}", stage.file());
    let notices = notices(&mut events);
    assert!(notices[0].contains("forbids snapshots"), "{notices:?}");
}

#[tokio::test]
async fn cancelled_create_leaves_nothing() {
    let stage = Stage::new(Pool::Btrfs);
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = stage
        .operations
        .create(&mut stage.project(), request("dev"), &cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(stage.instances().await.is_empty());
    assert_eq!(stage.journals(), 0);
}

#[tokio::test]
async fn rejects_used_names() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let error = stage.create("dev").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.hint().unwrap().contains("up dev"), "{error:?}");
    let error = stage.create("DEV").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(stage.instances().await, ["web-dev"]);
}

#[tokio::test]
async fn rejects_instances_of_other_projects() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    let mut marks = stage.fake.instance(&dev_instance()).await.unwrap().marks;
    marks.project = Some("other".parse().unwrap());
    stage.fake.set_marks(&dev_instance(), &marks).await.unwrap();
    for error in [
        stage
            .operations
            .start(&stage.project(), &env("dev"))
            .await
            .map(drop)
            .unwrap_err(),
        stage
            .operations
            .remove(&mut stage.project(), &env("dev"))
            .await
            .map(drop)
            .unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotOurs);
        assert!(error.report().message.contains("`other`"), "{error:?}");
    }
    assert_eq!(stage.instances().await, ["web-dev"]);
}

#[tokio::test]
async fn unmarked_instances_are_used_after_their_adoption() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    stage
        .fake
        .set_marks(&dev_instance(), &Default::default())
        .await
        .unwrap();
    let (operations, dev) = (&stage.operations, env("dev"));
    let mut project = stage.project();
    for refused in [
        operations.stop(&project, &dev).await.map(drop),
        operations.remove(&mut project, &dev).await.map(drop),
        stage.create("dev").await.map(drop),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotOurs, "{error:?}");
        assert!(error.hint().unwrap().contains("adopt dev"), "{error:?}");
    }
    // It is shown, with what to do.
    let view = operations.overview(&[stage.directory()]).await.unwrap();
    let shown = &view.projects[0].envs[0];
    assert_eq!(shown.status, EnvStatus::Running);
    let problem = shown.problem.as_ref().unwrap();
    assert!(problem.message.contains("not adopted"), "{problem:?}");
    assert!(operations.adopt(&project, &dev).await.unwrap());
    assert!(!operations.adopt(&project, &dev).await.unwrap());
    operations.stop(&project, &dev).await.unwrap();
}

#[tokio::test]
async fn rejects_invalid_users() {
    for (user, kind) in [
        ("{name: \"x; rm -rf /\"}", ErrorKind::InvalidName),
        ("{name: dev, password: \"a\\nb\"}", ErrorKind::Config),
        ("{name: Root}", ErrorKind::InvalidName),
    ] {
        let stage = Stage::new(Pool::Btrfs);
        let text = format!("project: web\ndefaults:\n  user: {user}\n");
        std::fs::write(stage.directory().join("containers.yaml"), text).unwrap();
        let error = stage.create("dev").await.unwrap_err();
        assert_eq!(error.kind(), kind, "{user}: {error:?}");
        assert!(stage.instances().await.is_empty());
    }
}

#[tokio::test]
async fn unreachable_engine_is_not_a_missing_env() {
    let stage = Stage::new(Pool::Btrfs);
    stage.create("dev").await.unwrap();
    stage.fake.set_unreachable(true);
    let error = stage
        .operations
        .start(&stage.project(), &env("dev"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    let error = stage
        .operations
        .remove(&mut stage.project(), &env("dev"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(stage.file().contains("dev:"), "the entry is gone");
}

#[tokio::test]
async fn replaces_orphaned_instance_of_interrupted_create() {
    let stage = Stage::new(Pool::Btrfs);
    let marks = |operation: Option<OperationId>| Marks {
        project: Some("web".parse().unwrap()),
        env: Some(env("dev")),
        path: Some(stage.directory().canonicalize().unwrap()),
        operation,
    };
    let spec = |marks| LaunchSpec {
        name: dev_instance(),
        image: Image::Local {
            fingerprint: "0123456789ab".parse().unwrap(),
        },
        marks,
        settings: Settings::default(),
        user: lxc_dev_manager_core::model::UserName::dev(),
    };
    let (progress, cancel) = (Progress::none(), CancellationToken::new());
    let orphaned = spec(marks(Some(OperationId::random())));
    stage
        .fake
        .create(&orphaned, &progress, &cancel)
        .await
        .unwrap();
    stage.create("dev").await.unwrap();
    assert!(stage.file().contains("initial-state"));

    // A complete instance that the file lost is not replaced.
    let stage = Stage::new(Pool::Btrfs);
    let marks = Marks {
        path: Some(stage.directory().canonicalize().unwrap()),
        ..marks(None)
    };
    stage
        .fake
        .create(&spec(marks), &progress, &cancel)
        .await
        .unwrap();
    assert_eq!(
        stage.create("dev").await.unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
}

#[tokio::test]
async fn installs_docker_at_create_and_into_running_env() {
    let stage = Stage::new(Pool::Btrfs);
    let path = stage.directory().join("containers.yaml");
    let set_nesting = |word: &str| {
        let text = format!("project: web\ndefaults: {{nesting: {word}}}\ncontainers:\n");
        std::fs::write(&path, text).unwrap();
    };
    set_nesting("true");
    stage.create("dev").await.unwrap();
    let has_docker = || async {
        let dev = dev_instance();
        let found = stage.fake.read_file(&dev, "/usr/sbin/dockerd").await;
        found.is_ok()
    };
    assert!(!has_docker().await);
    let text = stage.file().replace("nesting: true", "nesting: docker");
    std::fs::write(&path, text).unwrap();
    let (project, dev) = (stage.project(), env("dev"));
    stage.operations.stop(&project, &dev).await.unwrap();
    let refused = stage
        .operations
        .configure(&project, &dev)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    stage.operations.start(&project, &dev).await.unwrap();
    assert!(
        stage
            .operations
            .configure(&project, &dev)
            .await
            .unwrap()
            .changed()
    );
    assert!(has_docker().await);
    assert!(
        !stage
            .operations
            .configure(&project, &dev)
            .await
            .unwrap()
            .changed()
    );
    stage
        .operations
        .remove(&mut stage.project(), &dev)
        .await
        .unwrap();
    set_nesting("docker");
    stage.create("dev").await.unwrap();
    assert!(has_docker().await);
}
