//! How the time of a list grows with the envs in it, on the engine in memory: no engine's own time in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use lxc_dev_manager_core::backend::fake::{Fake, IMAGE, Pool};
use lxc_dev_manager_core::backend::{Images, Instances, LaunchSpec, Marks, Progress, Settings};
use lxc_dev_manager_core::clock::SystemClock;
use lxc_dev_manager_core::home::Home;
use lxc_dev_manager_core::operations::Operations;
use tokio_util::sync::CancellationToken;

use crate::pairs::Pairs;
use crate::row::Row;

/// Few and many envs.
const FEW: usize = 5;
const MANY: usize = 500;
/// As many times the time as there are times the envs.
const LIMIT: f64 = 100.0;

/// A project with so many envs.
struct Crowd {
    _root: tempfile::TempDir,
    operations: Operations,
    directory: std::path::PathBuf,
}

impl Crowd {
    async fn new(count: usize) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let directory = root.path().join("web");
        std::fs::create_dir(&directory)?;
        let fake = Arc::new(Fake::new(Pool::Btrfs));
        let mut file = "project: web\ncontainers:\n".to_owned();
        for number in 0..count {
            let name = format!("e{number}");
            file.push_str(&format!(
                "  {name}:\n    image: {IMAGE}\n    ports: [8000]\n"
            ));
            let spec = LaunchSpec {
                name: format!("web-{name}").parse()?,
                image: fake.find_image(&IMAGE.parse()?).await?,
                marks: Marks {
                    project: Some("web".parse()?),
                    env: Some(name.parse()?),
                    path: Some(directory.clone()),
                    operation: None,
                },
                settings: Settings::default(),
                user: lxc_dev_manager_core::model::UserName::dev(),
            };
            let cancel = CancellationToken::new();
            fake.create(&spec, &Progress::none(), &cancel).await?;
        }
        std::fs::write(directory.join("containers.yaml"), file)?;
        let home = Home::new(root.path().join("home"), None, None);
        let operations = Operations::new(vec![fake], home, Arc::new(SystemClock));
        Ok(Self {
            _root: root,
            operations,
            directory,
        })
    }

    async fn list(&self, count: usize) -> Result<Duration> {
        let begun = Instant::now();
        let view = self
            .operations
            .overview_brief(std::slice::from_ref(&self.directory))
            .await?;
        let taken = begun.elapsed();
        let seen = view.projects[0].envs.len();
        anyhow::ensure!(seen == count, "{seen} of {count}");
        Ok(taken)
    }
}

/// The row.
pub fn many() -> Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (few, many) = (
        runtime.block_on(Crowd::new(FEW))?,
        runtime.block_on(Crowd::new(MANY))?,
    );
    let pairs = Pairs::take(
        3,
        20,
        || runtime.block_on(many.list(MANY)),
        || runtime.block_on(few.list(FEW)),
    )?;
    let what = format!("a list of {MANY} envs / of {FEW}, in process");
    Ok(vec![Row::pairs_below("in memory", &what, &pairs, LIMIT)])
}
