//! `watch`: the events of host agents, with the name of their instance.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::Context;
use crate::flags::Given;
use crate::inspect::existing;

/// How often files are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// One log that is read as it grows.
struct Tail {
    path: PathBuf,
    reader: Option<(u64, BufReader<File>)>,
    line: String,
    from_end: bool,
}

impl Tail {
    fn new(dir: &Path, from_end: bool) -> Self {
        Self {
            path: dir.join("ha.stdout.log"),
            reader: None,
            line: String::new(),
            from_end,
        }
    }

    /// Reopens the file where it is another one: each start makes its own.
    fn refresh(&mut self) -> Option<()> {
        let meta = std::fs::metadata(&self.path).ok()?;
        if self
            .reader
            .as_ref()
            .is_some_and(|(inode, _)| *inode == meta.ino())
        {
            return Some(());
        }
        let mut file = File::open(&self.path).ok()?;
        if self.from_end {
            file.seek(SeekFrom::End(0)).ok()?;
        }
        self.line.clear();
        self.reader = Some((meta.ino(), BufReader::new(file)));
        Some(())
    }

    fn next(&mut self) -> Option<Value> {
        let fresh = self.refresh();
        // What begins after this is seen from its first line on.
        self.from_end = false;
        fresh?;
        let (_, reader) = self.reader.as_mut()?;
        reader.read_line(&mut self.line).ok()?;
        if !self.line.ends_with('\n') {
            return None;
        }
        let event = serde_json::from_str(&self.line).ok();
        self.line.clear();
        event
    }
}

pub(crate) fn watch(context: &Context, given: &Given) -> Result<ExitCode> {
    let history = given.bool("history");
    let everything = given.args.is_empty();
    let mut tails = BTreeMap::new();
    let names = if everything {
        context.home.instances()?
    } else {
        given.args.clone()
    };
    for name in names {
        let dir = if everything {
            context.home.instance(&name)?
        } else {
            existing(&context.home, &name, &context.faults)?.dir
        };
        tails.insert(name, Some(Tail::new(&dir, !history)));
    }
    writeln!(std::io::stderr(), "Watching for events...")?;
    loop {
        if everything {
            add_new(context, &mut tails)?;
        }
        for (name, tail) in &mut tails {
            while let Some(event) = tail.as_mut().and_then(Tail::next) {
                print(name, &event, given.bool("json"))?;
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// What has no lima.yaml when its directory is first seen is never looked at again: so the real one misses clones.
fn add_new(context: &Context, tails: &mut BTreeMap<String, Option<Tail>>) -> Result<()> {
    for name in context.home.instances()? {
        let dir = context.home.dir().join(&name);
        tails.entry(name).or_insert_with(|| {
            let is_instance = dir.join("lima.yaml").exists();
            is_instance.then(|| Tail::new(&dir, false))
        });
    }
    Ok(())
}

fn print(name: &str, event: &Value, as_json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        writeln!(out, "{}", json!({"instance": name, "event": event}))?;
    } else {
        writeln!(
            out,
            "{} {name} | {}",
            event["time"].as_str().unwrap_or_default(),
            event["status"]
        )?;
    }
    out.flush()?;
    Ok(())
}
