//! Writing what was measured into the docs.

use std::path::Path;

use anyhow::{Context, Result};

/// The lines around what a whole run writes.
const ALL: [&str; 2] = [
    "<!-- measured: from here to the end mark `make bench WRITE=1` writes -->",
    "<!-- measured: end -->",
];
/// The lines around what a run of some parts writes: since the whole one.
const SOME: [&str; 2] = [
    "<!-- measured since: from here to the end mark `make bench WRITE=1 PARTS=…` writes -->",
    "<!-- measured since: end -->",
];

/// Puts a text between the marks of `docs/benchmarks.md`. What was measured in parts goes where everything was measured
/// again.
pub fn write(text: &str, is_whole: bool) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let before = std::fs::read_to_string(&path)?;
    let after = if is_whole {
        between(&before, ALL, text).and_then(|page| between(&page, SOME, ""))
    } else {
        // Below a heading of their own.
        between(&before, SOME, &text.replace("\n## ", "\n### "))
    };
    let after = after.context("docs/benchmarks.md has lost its marks")?;
    Ok(std::fs::write(&path, after)?)
}

fn between(page: &str, [begin, end]: [&str; 2], text: &str) -> Option<String> {
    let (head, rest) = page.split_once(begin)?;
    let (_, tail) = rest.split_once(end)?;
    Some(format!("{head}{begin}\n\n{}\n\n{end}{tail}", text.trim()))
}
