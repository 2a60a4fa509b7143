//! What happens to machines: told by their directories and by their host agents' logs.
//!
//! Lima has no server that could be asked. A machine appears, goes and gets another name by its
//! directory; it has been started once its agent writes `"running":true` as a line of JSON into
//! `ha.stdout.log`, which begins anew with every start. `limactl watch` tells the same, but passes over
//! copies, and is a process that somebody has to look after. Deliberately absent: writes to disks, of
//! which there are thousands.

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

use crate::backend::BackendEvent;
use crate::backend::lima::lifecycle::drafts::is_draft;
use crate::backend::lima::machine::directory::{Directory, YAML};
use crate::backend::lima::machine::record;
use crate::error::Result;
use crate::model::InstanceName;

/// The agent's lines for programs.
const LOG: &str = "ha.stdout.log";
/// The files of a machine that say something.
const TELLING: [&str; 5] = ["ha.pid", "qemu.pid", "vz.pid", YAML, record::FILE];
/// Events that wait for a reader.
const WAITING: usize = 256;
/// How much of a log is read at once.
const LOG_LIMIT: u64 = 4 << 20;

/// Something below `LIMA_HOME` was touched.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Touched {
    /// A file, or a machine's directory itself.
    Path(PathBuf),
    /// A machine's directory has another name.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "FSEvents tells of two paths, not of one move")
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

/// What happens from now on.
///
/// # Errors
/// `Io` where nothing can be watched.
pub(crate) fn stream(home: &Path) -> Result<BoxStream<'static, BackendEvent>> {
    crate::backend::lima::snapshots::make_directory(home)?;
    let mut touched = watch(home)?;
    let (told, events) = mpsc::channel(WAITING);
    let mut fold = Fold::of(home);
    let task = tokio::spawn(async move {
        while let Some(touched) = touched.next().await {
            for event in fold.take(touched) {
                if told.send(event).await.is_err() {
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

/// How far each log was read.
struct Fold {
    home: PathBuf,
    logs: HashMap<InstanceName, Log>,
}

#[derive(Default)]
struct Log {
    offset: u64,
    is_running: bool,
}

impl Fold {
    fn of(home: &Path) -> Self {
        let mut fold = Self {
            home: home.to_path_buf(),
            logs: HashMap::new(),
        };
        // What was told before isn't told again.
        for (name, _) in Directory::all(home).unwrap_or_default() {
            fold.read_log(&name);
        }
        fold
    }

    fn take(&mut self, touched: Touched) -> Vec<BackendEvent> {
        match touched {
            Touched::Path(path) => self.take_path(&path),
            Touched::Moved { from, to } => {
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

    fn take_path(&mut self, path: &Path) -> Vec<BackendEvent> {
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
            file if TELLING.contains(&file) => vec![BackendEvent::Changed(name)],
            _ => Vec::new(),
        }
    }

    /// The machine to which a path belongs.
    fn machine(&self, path: &Path) -> Option<InstanceName> {
        let first = path.strip_prefix(&self.home).ok()?.components().next()?;
        InstanceName::parse(first.as_os_str().to_str()?).ok()
    }

    /// Reads what is new in a log, and what that means.
    fn read_log(&mut self, name: &InstanceName) -> Option<BackendEvent> {
        let path = self.home.join(name.as_str()).join(LOG);
        let log = self.logs.entry(name.clone()).or_default();
        let mut file = std::fs::File::open(path).ok()?;
        if file.metadata().ok()?.len() < log.offset {
            *log = Log::default();
        }
        file.seek(SeekFrom::Start(log.offset)).ok()?;
        let mut text = Vec::new();
        file.take(LOG_LIMIT).read_to_end(&mut text).ok()?;
        // A line that isn't whole yet is read the next time.
        let whole = text.iter().rposition(|byte| *byte == b'\n')? + 1;
        log.offset += whole as u64;
        let was_running = log.is_running;
        for line in text[..whole].split(|byte| *byte == b'\n') {
            // Lima writes other lines there as well, before it is ready.
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
    fn a_log_tells_each_start_once() {
        let home = tempfile::tempdir().unwrap();
        let name: InstanceName = "dev".parse().unwrap();
        let directory = home.path().join("dev");
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join(LOG);
        let mut fold = Fold::of(home.path());
        let mut told = |text: &str, anew: bool| {
            let mut options = std::fs::OpenOptions::new();
            let file = options
                .create(true)
                .append(!anew)
                .write(true)
                .truncate(anew);
            file.open(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            fold.take(Touched::Path(path.clone()))
        };
        let starting = "{\"time\":\"x\",\"status\":{\"sshLocalPort\":6022}}\nno line of JSON\n";
        let running = "{\"time\":\"x\",\"status\":{\"running\":true}}\n";
        assert!(told(starting, false).is_empty());
        assert!(told(&running[..10], false).is_empty());
        let started = [BackendEvent::Started(name.clone())];
        assert_eq!(told(&running[10..], false), started);
        assert!(told(running, false).is_empty());
        let exiting = "{\"status\":{\"running\":true,\"exiting\":true}}\n";
        assert_eq!(told(exiting, false), [BackendEvent::Changed(name.clone())]);
        assert_eq!(told(running, true), started, "a log that began anew");
    }

    #[tokio::test]
    async fn machines_are_seen_to_come_change_and_go() {
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
