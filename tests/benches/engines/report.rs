//! The rows as Markdown, and the machine on which they were measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::row::{Row, Section};

/// Marks around the result of a complete run.
const ALL: [&str; 2] = [
    "<!-- measured: from here to the end mark `make bench WRITE=1` writes -->",
    "<!-- measured: end -->",
];
/// Marks around the result of a run of some parts since then.
const SOME: [&str; 2] = [
    "<!-- measured since: from here to the end mark `make bench WRITE=1 PARTS=…` writes -->",
    "<!-- measured since: end -->",
];
const HEAD: &str =
    "| what | engine | ours | peer | ours / peer | wanted |  |\n|---|---|---|---|---|---|---|\n";

pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::new();
    for (heading, section) in [
        ("Command line", Section::Commands),
        ("Ports", Section::Ports),
        ("The app", Section::App),
    ] {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.section == section).collect();
        if !rows.is_empty() {
            text.push_str(&format!("\n## {heading}\n\n{HEAD}"));
            text.extend(rows.iter().map(|row| line(row)));
        }
    }
    text
}

fn line(row: &Row) -> String {
    let cells = [
        &row.what,
        &row.engine,
        &row.ours,
        &row.peer,
        &row.compared,
        &row.wanted,
        &row.verdict,
    ];
    format!("| {} |\n", cells.map(String::as_str).join(" | "))
}

/// Writes the result to `docs/benchmarks.md`. A complete run replaces the results of parts.
pub fn write(text: &str, is_complete: bool) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let page = fs::read_to_string(&path)?;
    let page = if is_complete {
        between(&page, ALL, text).and_then(|page| between(&page, SOME, ""))
    } else {
        // Below a heading of the page.
        between(&page, SOME, &text.replace("\n## ", "\n### "))
    };
    let page = page.context("docs/benchmarks.md has lost its marks")?;
    Ok(fs::write(&path, page)?)
}

fn between(page: &str, [begin, end]: [&str; 2], text: &str) -> Option<String> {
    let (head, rest) = page.split_once(begin)?;
    let (_, tail) = rest.split_once(end)?;
    Some(format!("{head}{begin}\n\n{}\n\n{end}{tail}", text.trim()))
}

/// The machine, in one line.
pub fn machine() -> String {
    let value = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let value = line.map(|line| line.trim_matches([':', '=', '"', ' ', '\t']));
        value.unwrap_or_default().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = value("/proc/cpuinfo", "model name");
    let memory = value("/proc/meminfo", "MemTotal");
    let kib: f64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
    let gib = kib / 1024.0 / 1024.0;
    let kernel = value("/proc/sys/kernel/osrelease", "");
    let system = value("/etc/os-release", "PRETTY_NAME");
    let load = value("/proc/loadavg", "");
    let load = load.split(' ').next().unwrap_or_default();
    let today = jiff::Timestamp::now().strftime("%F");
    format!(
        "{today}: {cores} cores ({model}), {gib:.0} GiB, {system}, Linux {kernel}; load at the start {load}"
    )
}
