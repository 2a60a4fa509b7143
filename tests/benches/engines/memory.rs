//! What a process and all below it cost, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Time between two readings that have to agree.
const APART: Duration = Duration::from_secs(2);
/// MiB by which they may differ.
const ALIKE: f64 = 0.1;
/// After how many readings the last one counts, alike or not.
const READINGS: usize = 15;

/// Memory of a process tree, in MiB.
#[derive(Debug, Clone)]
pub struct Memory {
    /// PSS: a page that is shared by n processes counts for one n-th.
    pub pss: f64,
    /// Pages that were written, so that nobody else can have them and no file has them either.
    pub dirty: f64,
    /// All pages, as if nobody shared any.
    pub rss: f64,
    /// How many processes.
    pub processes: usize,
    /// Whether two readings agreed.
    pub settled: bool,
}

/// Reads until two readings agree.
pub fn settled(root: u32) -> Result<Memory> {
    let mut last = read(root)?;
    for _ in 0..READINGS {
        // This is the measurement itself: what is to be seen is that nothing changes meanwhile.
        std::thread::sleep(APART);
        let now = read(root)?;
        let settled = (now.pss - last.pss).abs() <= ALIKE;
        last = Memory { settled, ..now };
        if settled {
            break;
        }
    }
    Ok(last)
}

/// Reads it now.
pub fn read(root: u32) -> Result<Memory> {
    let tree = tree(root)?;
    let mut sums = [0.0; 3];
    for pid in &tree {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| path.clone())?;
        for (sum, key) in sums.iter_mut().zip(["Pss:", "Private_Dirty:", "Rss:"]) {
            let line = text.lines().find_map(|line| line.strip_prefix(key));
            let number = line.and_then(|line| line.split_whitespace().next());
            *sum += number
                .with_context(|| format!("no {key}"))?
                .parse::<f64>()?
                / 1024.0;
        }
    }
    let [pss, dirty, rss] = sums;
    Ok(Memory {
        pss,
        dirty,
        rss,
        processes: tree.len(),
        settled: false,
    })
}

/// How many processes besides a tree have mapped the same file of a library as its root: such
/// lessen its PSS.
pub fn sharers(root: u32, library: &str) -> Result<usize> {
    let maps = |pid: u32| fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let own = maps(root);
    let Some(file) = own
        .lines()
        .find(|line| line.contains(library))
        .and_then(file)
    else {
        return Ok(0);
    };
    let tree = tree(root)?;
    let others = processes()?.into_iter().filter(|pid| !tree.contains(pid));
    let same = |pid: &u32| {
        maps(*pid)
            .lines()
            .filter_map(self::file)
            .any(|found| found == file)
    };
    Ok(others.filter(same).count())
}

/// Device and inode of a line of `/proc/PID/maps`.
fn file(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.split_whitespace().skip(3);
    Some((fields.next()?, fields.next()?))
}

/// All processes.
pub fn processes() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(entries.filter_map(pid).collect())
}

/// Ticks of processor time that a process and all below it have used so far.
pub fn ticks(root: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in tree(root)? {
        let fields = stat(pid)?;
        let number = |index: usize| fields[index].parse::<u64>();
        // utime and stime; see proc(5).
        sum += number(11)? + number(12)?;
    }
    Ok(sum)
}

/// A process and all below it.
pub fn tree(root: u32) -> Result<Vec<u32>> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in processes()? {
        // One that has ended meanwhile has no parent any more.
        if let Some(parent) = stat(pid)
            .ok()
            .and_then(|fields| fields.get(1)?.parse().ok())
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    Ok(found)
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything: state, parent, …
pub fn stat(pid: u32) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = text.rsplit_once(')').context("another format")?;
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}
