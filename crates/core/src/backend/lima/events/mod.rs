//! Events of machines, from their directories and the logs of their host agents.
//!
//! Lima has no daemon to ask. A machine is created, deleted and renamed with its directory; it is running once its
//! agent writes `"running":true` to `ha.stdout.log` (JSON lines, replaced at each start). `limactl watch` reports the
//! same, but skips copies and is another process to manage. Deliberately absent: writes to disks.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(target_os = "linux")]
use inotify::watch;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other::watch;

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::draft_name::is_draft;
use super::machine::directory::{Directory, YAML};
use super::machine::record;
use crate::backend::BackendEvent;
use crate::error::Result;
use crate::model::InstanceName;

/// The agent's JSON lines.
const LOG: &str = "ha.stdout.log";
/// Files whose changes are reported.
const WATCHED_FILES: [&str; 5] = ["ha.pid", "qemu.pid", "vz.pid", YAML, record::FILE];
const EVENT_BUFFER: usize = 256;
const MAX_LOG_BYTES: u64 = 4 << 20;

/// A change below `LIMA_HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FileEvent {
    /// A file, or a machine's directory itself.
    Path(PathBuf),
    /// A renamed machine's directory.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "FSEvents reports two paths instead of a move")
    )]
    Moved { from: PathBuf, to: PathBuf },
}

#[derive(Deserialize)]
struct Line {
    status: Status,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    running: bool,
    #[serde(default)]
    exiting: bool,
}

/// Streams the events from now on.
///
/// # Errors
/// `Io` if `LIMA_HOME` cannot be watched.
pub(crate) fn stream(home: &Path) -> Result<BoxStream<'static, BackendEvent>> {
    crate::home::create_private_directory(home)?;
    let mut changes = watch(home)?;
    let (sender, events) = mpsc::channel(EVENT_BUFFER);
    let mut fold = EventFold::of(home);
    let task = tokio::spawn(async move {
        while let Some(changes) = changes.next().await {
            for event in fold.handle(changes) {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    let task = AbortOnDropHandle::new(task);
    let stream = futures_util::stream::unfold((events, task), |(mut events, task)| async {
        events.recv().await.map(|event| (event, (events, task)))
    });
    Ok(stream.boxed())
}

/// Converts file changes to events; tracks the read position of each log.
struct EventFold {
    home: PathBuf,
    logs: HashMap<InstanceName, Log>,
}

#[derive(Default)]
struct Log {
    offset: u64,
    is_running: bool,
}

impl EventFold {
    fn of(home: &Path) -> Self {
        let mut fold = Self {
            home: home.to_path_buf(),
            logs: HashMap::new(),
        };
        // Skips earlier events.
        for (name, _) in Directory::all(home).unwrap_or_default() {
            fold.read_log(&name);
        }
        fold
    }

    fn handle(&mut self, changes: FileEvent) -> Vec<BackendEvent> {
        match changes {
            FileEvent::Path(path) => self.handle_path(&path),
            FileEvent::Moved { from, to } => {
                let (old, new) = (self.machine(&from), self.machine(&to));
                match (old.filter(|name| !is_draft(name)), new) {
                    (Some(old), Some(new)) => {
                        let log = self.logs.remove(&old);
                        self.logs.extend(log.map(|log| (new.clone(), log)));
                        vec![BackendEvent::Renamed { old, new }]
                    }
                    (old, new) => {
                        let names = old.into_iter().chain(new);
                        names.map(BackendEvent::Changed).collect()
                    }
                }
            }
        }
    }

    fn handle_path(&mut self, path: &Path) -> Vec<BackendEvent> {
        let Some(name) = self.machine(path).filter(|name| !is_draft(name)) else {
            return Vec::new();
        };
        let file = path.strip_prefix(self.home.join(name.as_str()));
        let file = file.ok().and_then(Path::to_str).unwrap_or_default();
        match file {
            LOG => match self.read_log(&name) {
                Some(event) => vec![event],
                None => Vec::new(),
            },
            "" => {
                if !path.exists() {
                    self.logs.remove(&name);
                }
                vec![BackendEvent::Changed(name)]
            }
            file if WATCHED_FILES.contains(&file) => vec![BackendEvent::Changed(name)],
            _ => Vec::new(),
        }
    }

    /// The machine that a path belongs to.
    fn machine(&self, path: &Path) -> Option<InstanceName> {
        let first = path.strip_prefix(&self.home).ok()?.components().next()?;
        InstanceName::parse(first.as_os_str().to_str()?).ok()
    }

    /// Reads new lines of a log and returns the resulting event.
    fn read_log(&mut self, name: &InstanceName) -> Option<BackendEvent> {
        let path = self.home.join(name.as_str()).join(LOG);
        let log = self.logs.entry(name.clone()).or_default();
        let mut file = std::fs::File::open(path).ok()?;
        if file.metadata().ok()?.len() < log.offset {
            *log = Log::default();
        }
        file.seek(SeekFrom::Start(log.offset)).ok()?;
        let mut text = Vec::new();
        file.take(MAX_LOG_BYTES).read_to_end(&mut text).ok()?;
        // An incomplete line is read later.
        let complete = text.iter().rposition(|byte| *byte == b'\n')? + 1;
        log.offset += complete as u64;
        let was_running = log.is_running;
        for line in text[..complete].split(|byte| *byte == b'\n') {
            // Lima writes other lines as well.
            if let Ok(Line { status }) = serde_json::from_slice(line) {
                log.is_running = status.running && !status.exiting;
            }
        }
        match (was_running, log.is_running) {
            (false, true) => Some(BackendEvent::Started(name.clone())),
            (true, false) => Some(BackendEvent::Changed(name.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn each_start_is_reported_once() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "dev".parse().unwrap();
        let directory = home.path().join("dev");
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join(LOG);
        let mut fold = EventFold::of(home.path());
        let mut write_log = |text: &str, replace: bool| {
            let mut options = std::fs::OpenOptions::new();
            let file = options
                .create(true)
                .append(!replace)
                .write(true)
                .truncate(replace);
            file.open(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            fold.handle(FileEvent::Path(path.clone()))
        };
        let starting = "{\"time\":\"x\",\"status\":{\"sshLocalPort\":6022}}\nno line of JSON\n";
        let running = "{\"time\":\"x\",\"status\":{\"running\":true}}\n";
        assert!(write_log(starting, false).is_empty());
        assert!(write_log(&running[..10], false).is_empty());
        let started = [BackendEvent::Started(name.clone())];
        assert_eq!(write_log(&running[10..], false), started);
        assert!(write_log(running, false).is_empty());
        let exiting = "{\"status\":{\"running\":true,\"exiting\":true}}\n";
        assert_eq!(
            write_log(exiting, false),
            [BackendEvent::Changed(name.clone())]
        );
        assert_eq!(write_log(running, true), started, "a new log");
    }

    #[tokio::test]
    async fn reports_created_changed_and_deleted_machines() {
        let home = tempfile::tempdir().unwrap();
        let mut events = stream(home.path()).unwrap();
        let (dev, new): (InstanceName, InstanceName) =
            ("dev".parse().unwrap(), "new".parse().unwrap());
        let path = home.path().join("dev");
        let mut until = async |wanted: BackendEvent| {
            let timeout = std::time::Duration::from_secs(20);
            while tokio::time::timeout(timeout, events.next())
                .await
                .unwrap()
                .unwrap()
                != wanted
            {}
        };
        std::fs::create_dir(&path).unwrap();
        until(BackendEvent::Changed(dev.clone())).await;
        std::fs::write(path.join(LOG), "{\"status\":{\"running\":true}}\n").unwrap();
        until(BackendEvent::Started(dev.clone())).await;
        std::fs::write(path.join("ha.pid"), "1").unwrap();
        until(BackendEvent::Changed(dev.clone())).await;
        std::fs::rename(&path, home.path().join("new")).unwrap();
        if cfg!(target_os = "linux") {
            let renamed = BackendEvent::Renamed {
                old: dev,
                new: new.clone(),
            };
            until(renamed).await;
        }
        std::fs::remove_dir_all(home.path().join("new")).unwrap();
        until(BackendEvent::Changed(new)).await;
    }
}
