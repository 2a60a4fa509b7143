//! Concurrent changes of one file by many processes.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::project::{Change, NewEnv, Project};

/// Number of a writer process.
const WRITER: &str = "LDM_TEST_WRITER";
/// Project directory of a writer process.
const DIRECTORY: &str = "LDM_TEST_WRITER_PROJECT";
const WRITERS: usize = 20;

/// Runs as a writer if the variables are set.
pub fn run_as_writer() -> Option<ExitCode> {
    let number = std::env::var(WRITER).ok()?;
    let directory = std::env::var(DIRECTORY).ok()?;
    Some(match write(&number, Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("writer {number}: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// Makes four changes, each with its own read and write.
fn write(number: &str, directory: &Path) -> Result<()> {
    let (env, gone): (String, String) = (format!("env{number}"), format!("gone{number}"));
    let mut project = Project::open(directory)?;
    let new = |name: &str| {
        anyhow::Ok(Change::AddEnv(NewEnv::new(
            name.parse()?,
            "debian:12".parse()?,
        )))
    };
    project.change(&[new(&env)?])?;
    project.change(&[new(&gone)?])?;
    project.change(&[Change::AddSnapshot {
        env: env.parse()?,
        snapshot: "initial-state".parse()?,
        description: Some(format!("of {number}")),
        created_at: "2026-01-15T14:22:00Z".parse()?,
    }])?;
    project.change(&[Change::RemoveEnv { env: gone.parse()? }])?;
    Ok(())
}

pub fn concurrent_writers_lose_no_update() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("containers.yaml");
    std::fs::write(
        &path,
        "# ours\nproject: a # named\ncontainers:\n  # first\n  own: {image: x}\nend: 1\n",
    )?;
    let writers = (0..WRITERS).map(|number| {
        Command::new(std::env::current_exe()?)
            .env(WRITER, number.to_string())
            .env(DIRECTORY, directory.path())
            .spawn()
            .context("cannot start a writer")
    });
    let writers: Vec<_> = writers.collect::<Result<_>>()?;
    for mut writer in writers {
        ensure!(writer.wait()?.success(), "a writer failed");
    }
    let text = std::fs::read_to_string(&path)?;
    let project = Project::open(directory.path())?;
    let names = project.file().env_names();
    ensure!(names.len() == WRITERS + 1, "{text}");
    for number in 0..WRITERS {
        let env = format!("env{number}").parse()?;
        let entry = project
            .file()
            .entry(&env)
            .with_context(|| format!("{env} is lost:\n{text}"))?;
        let taken = entry
            .snapshots
            .get("initial-state")
            .context("no snapshot")?;
        ensure!(taken.description == Some(format!("of {number}")), "{text}");
    }
    for kept in [
        "# ours\n",
        "project: a # named\n",
        "  # first\n  own: {image: x}\n",
        "end: 1\n",
    ] {
        ensure!(text.contains(kept), "{kept:?} is lost:\n{text}");
    }
    ensure!(
        std::fs::read_dir(directory.path())?.count() == 1,
        "files left over"
    );
    Ok(())
}
