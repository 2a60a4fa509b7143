//! Many processes that change one file at the same time.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use lxc_dev_manager_core::project::{Change, NewEnv, Project};

/// Set for a process that is a writer: its number.
const WRITER: &str = "LDM_TEST_WRITER";
/// Where its project is.
const DIRECTORY: &str = "LDM_TEST_WRITER_PROJECT";
const WRITERS: usize = 20;

/// In a process that is a writer: writes, and says how it ended.
pub fn write_if_told() -> Option<ExitCode> {
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

/// Four changes, each read, changed and written for itself.
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

pub fn twenty_processes_lose_no_update_of_one_file() -> Result<()> {
    let place = tempfile::tempdir()?;
    let path = place.path().join("containers.yaml");
    std::fs::write(
        &path,
        "# ours\nproject: a # named\ncontainers:\n  # first\n  own: {image: x}\nend: 1\n",
    )?;
    let writers = (0..WRITERS).map(|number| {
        Command::new(std::env::current_exe()?)
            .env(WRITER, number.to_string())
            .env(DIRECTORY, place.path())
            .spawn()
            .context("cannot start a writer")
    });
    let writers: Vec<_> = writers.collect::<Result<_>>()?;
    for mut writer in writers {
        ensure!(writer.wait()?.success(), "a writer failed");
    }
    let text = std::fs::read_to_string(&path)?;
    let project = Project::open(place.path())?;
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
        std::fs::read_dir(place.path())?.count() == 1,
        "litter was left"
    );
    Ok(())
}
