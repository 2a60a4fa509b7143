//! The promises of [`Backend`], one function each, on the fake, LXD, Incus and Lima.

mod copies;
mod files;
mod guest;
mod images;
mod instances;
mod ports;
mod snapshots;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::LocalBoxFuture;
use libtest_mimic::{Failed, Trial};
use lxc_dev_manager_core::ErrorKind;
use lxc_dev_manager_core::backend::fake::{Fake, Pool};
use lxc_dev_manager_core::backend::{Backend, LaunchSpec, Marks, Progress, Settings};
use lxc_dev_manager_core::model::{ImageName, InstanceName};
use lxc_dev_manager_tests::lima::{Guest, Lima, LimaStage};
use lxc_dev_manager_tests::{engines, harness};
use tokio_util::sync::CancellationToken;

const TIMEOUT: Duration = Duration::from_secs(120);

/// A backend, and a prefix for the names of one promise.
struct Stage {
    backend: Arc<dyn Backend>,
    /// The fake, whose guests cannot run services.
    fake: Option<Arc<Fake>>,
    prefix: String,
}

impl Stage {
    fn name(&self, suffix: &str) -> InstanceName {
        InstanceName::parse(&format!("{}-{suffix}", self.prefix)).unwrap()
    }

    /// Creates a stopped instance.
    async fn create(&self, suffix: &str) -> Result<InstanceName> {
        let spec = self.spec(suffix).await?;
        self.backend
            .create(&spec, &Progress::none(), &CancellationToken::new())
            .await?;
        Ok(spec.name)
    }

    async fn running(&self, suffix: &str) -> Result<InstanceName> {
        let name = self.create(suffix).await?;
        self.backend.start(&name).await?;
        Ok(name)
    }

    async fn spec(&self, suffix: &str) -> Result<LaunchSpec> {
        let image = ImageName::parse(&engines::image())?;
        Ok(LaunchSpec {
            name: self.name(suffix),
            image: self.backend.find_image(&image).await?,
            marks: Marks {
                project: Some(self.prefix.parse()?),
                env: Some(suffix.parse()?),
                path: Some("/nowhere".into()),
                operation: None,
            },
            settings: Settings::default(),
            user: lxc_dev_manager_core::model::UserName::dev(),
        })
    }

    async fn clear(&self) {
        for instance in self.backend.instances().await.unwrap_or_default() {
            if instance
                .name
                .as_str()
                .starts_with(&format!("{}-", self.prefix))
            {
                // It may be stopped already. Deletion reports errors.
                let _ = self.backend.stop(&instance.name, true).await;
                if let Err(error) = self.backend.delete(&instance.name).await {
                    eprintln!("{} was left behind: {error:?}", instance.name);
                }
            }
        }
        for image in self.backend.images().await.unwrap_or_default() {
            let ours = |alias: &String| alias.starts_with(&format!("{}-", self.prefix));
            if image.aliases.iter().any(ours)
                && let Err(error) = self.backend.delete_image(&image.fingerprint).await
            {
                eprintln!("image {} was left behind: {error:?}", image.fingerprint);
            }
        }
    }
}

fn ensure_kind<T: std::fmt::Debug>(
    result: lxc_dev_manager_core::Result<T>,
    kind: ErrorKind,
) -> Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => anyhow::bail!("expected {kind:?}, got {other:?}"),
    }
}

type Promise = fn(&Stage) -> LocalBoxFuture<'_, Result<()>>;

macro_rules! promises {
    ($($module:ident::$function:ident),* $(,)?) => {
        [$((
            stringify!($function),
            stringify!($module),
            (|stage| Box::pin($module::$function(stage))) as Promise,
        )),*]
    };
}

fn promises() -> Vec<(&'static str, &'static str, Promise)> {
    promises![
        instances::a_missing_instance_is_not_found,
        instances::a_name_is_exact,
        instances::an_unknown_image_is_not_found,
        instances::a_second_create_of_a_name_fails,
        instances::a_new_instance_is_stopped_and_marked,
        instances::starting_twice_is_a_conflict,
        instances::a_cancelled_create_leaves_nothing,
        instances::a_running_instance_gets_an_address,
        instances::brief_list_matches_the_full_list,
        instances::a_renamed_instance_has_only_its_new_name,
        instances::marks_can_be_replaced,
        instances::changes_are_reported,
        snapshots::restore_brings_files_back,
        snapshots::restore_of_a_running_instance_is_a_conflict,
        snapshots::restore_keeps_marks,
        snapshots::a_missing_snapshot_is_not_found,
        snapshots::a_snapshot_can_be_deleted,
        snapshots::size_of_snapshots_is_known_or_unreported,
        copies::a_copy_has_the_files_and_no_snapshots,
        copies::running_instance_is_copied_if_supported,
        copies::copy_has_requested_marks_and_its_image,
        copies::a_copy_needs_a_source_and_a_free_name,
        copies::settings_are_set_and_removed,
        copies::usage_is_reported_while_running,
        images::an_image_is_published_and_used,
        images::image_names_can_be_changed_and_are_unique,
        images::an_image_travels_as_a_file,
        files::a_file_is_written_read_and_deleted_in_a_stopped_guest,
        files::a_file_is_written_read_and_deleted_in_a_running_guest,
        files::directories_and_links_are_distinguished,
        files::a_missing_directory_is_not_found,
        guest::exit_codes_pass_through,
        guest::streams_pass_through,
        guest::a_stopped_instance_runs_nothing,
        guest::many_bytes_pass_unchanged,
        ports::services_on_every_address_are_reached,
        ports::late_service_is_reached,
        ports::a_port_without_a_service_is_refused,
        ports::a_route_ends_with_its_boot,
        ports::connections_outlive_their_route,
        ports::listeners_are_reported,
    ]
    .to_vec()
}

/// Services in guests need Perl, which only the larger guest has.
fn on_lima() -> Result<Vec<Trial>> {
    let lima = Lima::find()?;
    let all = promises().into_iter();
    let trials = all.flat_map(|(name, module, promise)| {
        lima.trials(name, move |stage: &LimaStage| {
            let image = match module {
                "ports" => Guest::Debian,
                _ => Guest::Busybox,
            };
            // A real limactl downloads its image and boots several times, possibly emulated.
            let timeout = if stage.is_fake() {
                TIMEOUT
            } else {
                TIMEOUT * 16
            };
            run(promise, Arc::new(stage.backend(image)?), None, timeout)
        })
    });
    Ok(trials.collect())
}

fn trial(
    label: &str,
    name: &str,
    promise: Promise,
    backend: Arc<dyn Backend>,
    fake: Option<Arc<Fake>>,
) -> Trial {
    Trial::test(format!("{label}::{name}"), move || {
        run(promise, backend, fake, TIMEOUT).map_err(|error| Failed::from(format!("{error:#}")))
    })
}

fn run(
    promise: Promise,
    backend: Arc<dyn Backend>,
    fake: Option<Arc<Fake>>,
    timeout: Duration,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let prefix = format!("c{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let stage = Stage {
            backend,
            fake,
            prefix,
        };
        let result = tokio::time::timeout(timeout, promise(&stage)).await;
        stage.clear().await;
        result.unwrap_or_else(|_| anyhow::bail!("timeout after {} s", timeout.as_secs()))
    })
}

fn main() -> ExitCode {
    let mut trials = Vec::new();
    let (found, missing) = engines::find();
    for (name, _, promise) in promises() {
        let fake = Arc::new(Fake::new(Pool::Btrfs));
        trials.push(trial("fake", name, promise, fake.clone(), Some(fake)));
        for engine in &found {
            trials.push(trial(engine.label(), name, promise, engine.backend(), None));
        }
        for label in &missing {
            trials.push(harness::missing_engine(label, name));
        }
    }
    match on_lima() {
        Ok(on_lima) => trials.extend(on_lima),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    for label in missing {
        eprintln!("skipped: {label} is not running (make engines)");
    }
    harness::run(trials)
}
