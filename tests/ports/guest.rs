//! Running instances for tests.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::backend::{
    Backend, ExecSpec, LaunchSpec, Marks, Progress, Settings, capture,
};
use lxc_dev_manager_core::model::{GuestPort, InstanceName};
use lxc_dev_manager_core::provision;
use lxc_dev_manager_tests::engines::{self, TestEngine};
use tokio_util::sync::CancellationToken;

/// Prints the number of relays.
const RELAYS: &str = "cat /proc/[0-9]*/comm 2>/dev/null | grep -c '^ldm-relay'";
/// Kills all relays.
const KILL_RELAYS: &str = "for p in /proc/[0-9]*; do
    case $(cat $p/comm 2>/dev/null) in ldm-relay*) kill -9 ${p#/proc/} ;; esac
done";

/// A running instance with its network.
pub struct Guest {
    pub backend: Arc<dyn Backend>,
    pub name: InstanceName,
}

/// Runs a test with guests of an image and deletes them afterwards.
pub fn with_guests<const N: usize>(
    engine: &TestEngine,
    image: &str,
    test: impl AsyncFnOnce([&Guest; N]) -> Result<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let random = uuid::Uuid::new_v4().simple().to_string();
        let backend = engine.backend();
        let guests = std::array::from_fn::<_, N, _>(|n| Guest {
            backend: backend.clone(),
            name: format!("d{}-{n}", &random[..8]).parse().unwrap(),
        });
        let tested = async {
            for guest in &guests {
                guest.start(image).await?;
            }
            test(guests.each_ref()).await
        };
        let tested = tested.await;
        for guest in &guests {
            // It may be stopped or missing; the deletion reports errors.
            let _ = guest.backend.stop(&guest.name, true).await;
            guest.backend.delete(&guest.name).await?;
        }
        tested
    })
}

pub fn debian() -> String {
    engines::image()
}

pub fn port(number: u16) -> GuestPort {
    GuestPort::new(number).unwrap()
}

impl Guest {
    async fn start(&self, image: &str) -> Result<()> {
        let backend = self.backend.as_ref();
        let spec = LaunchSpec {
            name: self.name.clone(),
            image: backend.find_image(&image.parse()?).await?,
            marks: Marks::default(),
            settings: Settings::default(),
            user: lxc_dev_manager_core::model::UserName::dev(),
        };
        let (progress, cancel) = (Progress::none(), CancellationToken::new());
        backend.create(&spec, &progress, &cancel).await?;
        backend.start(&self.name).await?;
        Ok(provision::wait_for_network(backend, &self.name).await?)
    }

    pub async fn address(&self) -> Result<String> {
        let instance = self.backend.instance(&self.name).await?;
        Ok(instance.address.context("no address")?.to_string())
    }

    /// Returns the output of a command; fails if it fails.
    pub async fn run(&self, argv: &[&str]) -> Result<String> {
        let spec = ExecSpec::new(argv.iter().copied());
        let output = capture(self.backend.as_ref(), &self.name, &spec, Vec::new()).await?;
        ensure!(output.code == 0, "{argv:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
    }

    pub async fn relays(&self) -> Result<usize> {
        // `grep` fails if the count is 0.
        let counted = self.run(&["sh", "-c", &format!("{RELAYS}; true")]).await?;
        Ok(counted.parse()?)
    }

    pub async fn kill_relays(&self) -> Result<()> {
        self.run(&["sh", "-c", KILL_RELAYS]).await.map(drop)
    }
}
