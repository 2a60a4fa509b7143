//! Lima for tests: the stand-in of `tests/limactl`, labelled `lima-fake`, and an installed `limactl`, labelled `lima`.
//! limactl refuses root, so root runs each test as a user created by `tests/engines/lima.sh`.

mod project;
mod stage;
mod user;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Failed, Trial};

pub use project::LimaProject;
pub use stage::{Call, Guest, LimaStage, Output};
use user::Delegate;

/// Label of tests on the stand-in.
pub const FAKE: &str = "lima-fake";
/// Label of tests on a real limactl.
pub const REAL: &str = "lima";

#[derive(Debug, Clone)]
pub struct Limactl {
    pub path: PathBuf,
    pub fake: bool,
}

impl Limactl {
    /// `$LIMACTL`, or `limactl` in `PATH`.
    pub fn real() -> Option<Self> {
        let named = std::env::var_os("LIMACTL").filter(|path| !path.is_empty());
        let path = named.map(PathBuf::from).or_else(|| {
            let directories = std::env::var_os("PATH")?;
            std::env::split_paths(&directories)
                .map(|directory| directory.join("limactl"))
                .find(|path| path.is_file())
        })?;
        Some(Self { path, fake: false })
    }

    /// Prefix of test names.
    pub fn label(&self) -> &'static str {
        if self.fake { FAKE } else { REAL }
    }
}

pub struct Lima {
    /// The stand-in, and a real limactl if installed.
    pub found: Vec<Limactl>,
    delegate: Option<Arc<Delegate>>,
}

impl Lima {
    /// Finds the stand-in in the build directory, and a real limactl.
    pub fn find() -> Result<Self> {
        let fake = Limactl {
            path: beside_tests("limactl")?,
            fake: true,
        };
        let found: Vec<Limactl> = std::iter::once(fake).chain(Limactl::real()).collect();
        let delegate = if user::is_root() {
            Some(Arc::new(Delegate::new(&found)?))
        } else {
            None
        };
        Ok(Self { found, delegate })
    }

    /// A test on each limactl.
    pub fn trials<T>(&self, name: &str, test: T) -> Vec<Trial>
    where
        T: Fn(&LimaStage) -> Result<()> + Send + Clone + 'static,
    {
        let on = |limactl: &Limactl| self.trial(limactl, name, test.clone());
        self.found.iter().map(on).collect()
    }

    /// A test on the stand-in only, for simulated faults.
    pub fn fake_trial<T>(&self, name: &str, test: T) -> Vec<Trial>
    where
        T: Fn(&LimaStage) -> Result<()> + Send + Clone + 'static,
    {
        let fakes = self.found.iter().filter(|limactl| limactl.fake);
        fakes
            .map(|limactl| self.trial(limactl, name, test.clone()))
            .collect()
    }

    /// A test on a real limactl only, for facts and tests that need a VM.
    pub fn real_trial<T>(&self, name: &str, test: T) -> Vec<Trial>
    where
        T: Fn(&LimaStage) -> Result<()> + Send + Clone + 'static,
    {
        let real = self.found.iter().filter(|limactl| !limactl.fake);
        real.map(|limactl| self.trial(limactl, name, test.clone()))
            .collect()
    }

    /// A test on the stand-in as root. Skipped with a message for other users.
    pub fn root_trial<T>(&self, name: &str, test: T) -> Vec<Trial>
    where
        T: Fn(&LimaStage) -> Result<()> + Send + Clone + 'static,
    {
        if self.delegate.is_none() {
            eprintln!("skipped: {FAKE}::{name} (it takes root)");
            return Vec::new();
        }
        let as_root = Self {
            found: self.found.clone(),
            delegate: None,
        };
        as_root.fake_trial(name, test)
    }

    /// A test on the stand-in, on a volume formatted with `make`. Skipped with a message without root.
    pub fn volume_trial<T>(&self, name: &str, make: &'static [&str], test: T) -> Vec<Trial>
    where
        T: Fn(&LimaStage) -> Result<()> + Send + Clone + 'static,
    {
        if std::env::var_os(user::VOLUME).is_some() {
            return self.fake_trial(name, test);
        }
        let Some(delegate) = self.delegate.clone() else {
            eprintln!("skipped: {FAKE}::{name} (mounting a volume takes root)");
            return Vec::new();
        };
        let whole = format!("{FAKE}::{name}");
        let run = move |whole: &str| delegate.run_on_volume(whole, make).map_err(failed);
        vec![Trial::test(whole.clone(), move || run(&whole))]
    }

    /// One test on one limactl, `LABEL::NAME`, with its own stage. Root runs it in another process.
    pub fn trial<T>(&self, limactl: &Limactl, name: &str, test: T) -> Trial
    where
        T: FnOnce(&LimaStage) -> Result<()> + Send + 'static,
    {
        let name = format!("{}::{name}", limactl.label());
        if let Some(delegate) = self.delegate.clone() {
            let whole = name.clone();
            return Trial::test(name, move || delegate.run(&whole).map_err(failed));
        }
        let limactl = limactl.clone();
        Trial::test(name, move || {
            let stage = LimaStage::new(&limactl).map_err(failed)?;
            test(&stage)
                .map_err(|error| failed(error.context(format!("logs:\n{}", stage.traces()))))
        })
    }
}

/// This program as the test user, next to copies of our programs. Keep their directory until the command ends.
pub fn as_user(limactl: &Limactl) -> Result<(impl Drop + use<>, Command)> {
    let delegate = Delegate::new(std::slice::from_ref(limactl))?;
    let command = delegate.command();
    Ok((delegate.into_directory(), command))
}

/// limactl refuses root.
pub fn is_root() -> bool {
    user::is_root()
}

fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// Settings from the environment, or from the file that `tests/engines/lima.sh up` wrote.
pub fn setting(name: &str) -> Result<String> {
    if let Ok(value) = std::env::var(name) {
        return Ok(value);
    }
    let directory =
        std::env::var("LDM_TEST_DIR").unwrap_or_else(|_| "/var/tmp/ldm-test".to_owned());
    let path = Path::new(&directory).join("lima.env");
    let missing = || format!("no {name} in {}: tests/engines/lima.sh up", path.display());
    let text = std::fs::read_to_string(&path).with_context(missing)?;
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(str::to_owned)
        .with_context(missing)
}

/// A program of the build directory, or its copy for the test user.
fn beside_tests(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let directory = test.parent().context("no build directory")?;
    let near = [Some(directory), directory.parent()];
    match near
        .iter()
        .flatten()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => bail!(
            "{name} is not built next to {}: cargo build --workspace",
            directory.display()
        ),
    }
}
